//! The links of a city on loopback: real TCP, whose bytes are counted by who sent them to whom, and which can be cut and
//! slowed while the nodes run.

use std::collections::BTreeMap;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use async_trait::async_trait;
use civicmesh_exchange::link::{BoxedIo, Listener, Network};
use civicmesh_node::Environment;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf, copy_bidirectional};
use tokio::task::JoinHandle;
use tokio::time::{Sleep, sleep};

/// What is wrong with a link, in one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Trouble {
    cut: bool,
    delay: Duration,
}

/// Sender and receiver.
type Pair = (String, String);

#[derive(Default)]
struct State {
    /// Who listens where.
    names: BTreeMap<String, String>,
    bytes: BTreeMap<Pair, u64>,
    troubles: BTreeMap<Pair, Trouble>,
}

/// The links of one city.
#[derive(Clone, Default)]
pub struct Wires(Arc<Mutex<State>>);

impl Wires {
    fn state(&self) -> MutexGuard<'_, State> {
        // what is behind the lock is whole after each statement, so a panic elsewhere does no harm to it
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says that `domain` listens at `address`.
    pub fn name(&self, address: &str, domain: &str) {
        self.state().names.insert(address.to_owned(), domain.to_owned());
    }

    /// The network as `domain` has it: TCP, counted and troubled.
    pub fn network(&self, domain: &str) -> Arc<dyn Network> {
        Arc::new(Wired { wires: self.clone(), domain: domain.to_owned(), inner: Environment::real().network })
    }

    /// Cuts a link in both directions, or mends it.
    pub fn cut(&self, one: &str, other: &str, cut: bool) {
        self.trouble(one, other, |trouble| trouble.cut = cut);
    }

    /// Makes each message over a link wait for so long; zero mends it.
    pub fn slow(&self, one: &str, other: &str, delay: Duration) {
        self.trouble(one, other, |trouble| trouble.delay = delay);
    }

    fn trouble(&self, one: &str, other: &str, mut change: impl FnMut(&mut Trouble)) {
        let mut state = self.state();
        for (from, to) in [(one, other), (other, one)] {
            change(state.troubles.entry((from.to_owned(), to.to_owned())).or_default());
        }
    }

    /// Mends every link.
    pub fn mend(&self) {
        self.state().troubles.clear();
    }

    /// What is wrong, in words, a line for each link.
    pub fn troubles(&self) -> Vec<String> {
        let state = self.state();
        // trouble is made of both directions at once
        let links = state.troubles.iter().filter(|((from, to), trouble)| from < to && **trouble != Trouble::default());
        links
            .map(|((one, other), trouble)| match trouble.cut {
                true => format!("{one} and {other}: cut off from each other"),
                false => format!("{one} and {other}: messages take {} ms longer", trouble.delay.as_millis()),
            })
            .collect()
    }

    /// Bytes so far, TLS included, by sender and receiver.
    pub fn bytes(&self) -> BTreeMap<(String, String), u64> {
        self.state().bytes.clone()
    }

    /// Bytes so far of all links together.
    pub fn bytes_all(&self) -> u64 {
        self.state().bytes.values().sum()
    }

    fn of(&self, pair: &Pair) -> Trouble {
        self.state().troubles.get(pair).copied().unwrap_or_default()
    }

    fn count(&self, pair: &Pair, bytes: usize) {
        let mut state = self.state();
        match state.bytes.get_mut(pair) {
            Some(counted) => *counted += bytes as u64,
            None => drop(state.bytes.insert(pair.clone(), bytes as u64)),
        }
    }

    /// Carries whatever connects at the returned address over the wire from `domain` to the department's side of another
    /// node, which listens at `target`. Ends with the returned task.
    pub async fn relay(&self, domain: &str, target: &str) -> io::Result<(String, JoinHandle<()>)> {
        let network = self.network(domain);
        let target = target.to_owned();
        let mut listener = network.listen("127.0.0.1:0").await?;
        let address = listener.local_address();
        let task = tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                let (network, target) = (Arc::clone(&network), target.clone());
                tokio::spawn(async move {
                    // who connected sees the end of the stream, as with any link that broke
                    if let Ok(mut far) = network.connect(&target).await {
                        drop(copy_bidirectional(&mut near, &mut far).await);
                    }
                });
            }
        });
        Ok((address, task))
    }
}

/// One domain's end of the wires.
struct Wired {
    wires: Wires,
    domain: String,
    inner: Arc<dyn Network>,
}

#[async_trait]
impl Network for Wired {
    async fn connect(&self, address: &str) -> io::Result<BoxedIo> {
        let other = self.wires.state().names.get(address).cloned().unwrap_or_else(|| address.to_owned());
        let (out, back) = ((self.domain.clone(), other.clone()), (other, self.domain.clone()));
        let trouble = self.wires.of(&out);
        if trouble.cut {
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        if !trouble.delay.is_zero() {
            sleep(trouble.delay).await;
        }
        let inner = self.inner.connect(address).await?;
        Ok(Box::new(Wire { inner, wires: self.wires.clone(), out, back, held: None }))
    }

    async fn listen(&self, address: &str) -> io::Result<Box<dyn Listener>> {
        self.inner.listen(address).await
    }
}

/// One connection, seen from the end that made it.
struct Wire {
    inner: BoxedIo,
    wires: Wires,
    out: Pair,
    back: Pair,
    /// A write that waits because the link is slow.
    held: Option<Pin<Box<Sleep>>>,
}

impl AsyncRead for Wire {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        ready!(Pin::new(&mut self.inner).poll_read(context, into))?;
        if self.wires.of(&self.back).cut {
            into.set_filled(before);
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        self.wires.count(&self.back, into.filled().len() - before);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let trouble = self.wires.of(&self.out);
        if trouble.cut {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        if !trouble.delay.is_zero() || self.held.is_some() {
            let held = self.held.get_or_insert_with(|| Box::pin(sleep(trouble.delay)));
            ready!(held.as_mut().poll(context));
            self.held = None;
        }
        let written = ready!(Pin::new(&mut self.inner).poll_write(context, bytes))?;
        self.wires.count(&self.out, written);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    /// A listener that gives back what it hears, and its address.
    async fn echo(wires: &Wires) -> String {
        let mut listener = wires.network("far").listen("127.0.0.1:0").await.unwrap();
        let address = listener.local_address();
        wires.name(&address, "far");
        tokio::spawn(async move {
            while let Ok((io, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut read, mut write) = tokio::io::split(io);
                    drop(tokio::io::copy(&mut read, &mut write).await);
                });
            }
        });
        address
    }

    async fn say(io: &mut BoxedIo) -> io::Result<()> {
        io.write_all(b"hello").await?;
        io.read_exact(&mut [0; 5]).await.map(|_| ())
    }

    #[tokio::test]
    async fn bytes_are_counted_by_who_sent_them_and_a_cut_link_carries_none() {
        let wires = Wires::default();
        let address = echo(&wires).await;
        let mut io = wires.network("near").connect(&address).await.unwrap();
        say(&mut io).await.unwrap();
        let pair = |from: &str, to: &str| (from.to_owned(), to.to_owned());
        assert_eq!(wires.bytes(), BTreeMap::from([(pair("near", "far"), 5), (pair("far", "near"), 5)]));

        wires.cut("far", "near", true);
        assert!(say(&mut io).await.is_err(), "an open connection breaks");
        assert!(wires.network("near").connect(&address).await.is_err(), "and no other is made");
        assert_eq!(
            (wires.bytes_all(), wires.troubles()),
            (10, vec!["far and near: cut off from each other".to_owned()])
        );

        wires.cut("near", "far", false);
        let mut io = wires.network("near").connect(&address).await.unwrap();
        say(&mut io).await.unwrap();
        assert_eq!((wires.bytes_all(), wires.troubles().len()), (20, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_link_carries_everything_later() {
        let wires = Wires::default();
        let address = echo(&wires).await;
        let mut io = wires.network("near").connect(&address).await.unwrap();
        wires.slow("near", "far", Duration::from_secs(3));
        let begun = tokio::time::Instant::now();
        say(&mut io).await.unwrap();
        assert!(begun.elapsed() >= Duration::from_secs(3));
    }

    #[tokio::test]
    async fn a_relay_is_a_wire_like_any_other() {
        let wires = Wires::default();
        let target = echo(&wires).await;
        let (address, task) = wires.relay("near", &target).await.unwrap();
        let mut io = Environment::real().network.connect(&address).await.unwrap();
        say(&mut io).await.unwrap();
        assert_eq!(wires.bytes_all(), 10);
        task.abort();
    }
}
