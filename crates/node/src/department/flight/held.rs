//! Answers between GetFlightInfo, which computes them, and DoGet, which fetches them: in the room that all answers on
//! their way share, few, and not for long. One that is not fetched in time is let go, and its question can be asked again.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use civicmesh_exchange::link::Entropy;
use civicmesh_proto::department::v1::ErrorCode;
use civicmesh_query::Answer;
use tokio::time::{Instant, interval};
use tokio_util::sync::CancellationToken;

use crate::department::failure::Failure;
use crate::department::outgoing::Room;

/// Answers that wait to be fetched.
const ANSWERS_MAX: usize = 1_024;
/// How long an answer waits to be fetched.
const HELD_FOR: Duration = Duration::from_secs(60);
/// How often answers that waited too long are looked for.
const SWEEP_EVERY: Duration = Duration::from_secs(10);
/// Bytes of an answer's name.
const NAME_BYTES: usize = 16;

/// An answer with the room that it takes until it is sent.
type Roomed = (Answer, Room);

/// Answers that wait to be fetched, each until its time.
#[derive(Default)]
pub(super) struct Held(Mutex<BTreeMap<Bytes, (Roomed, Instant)>>);

impl Held {
    /// Keeps an answer; gives the name to fetch it by, which cannot be guessed.
    ///
    /// # Errors
    /// [`ErrorCode::Busy`] while too many others wait.
    pub(super) fn keep(&self, answer: Roomed, now: Instant, entropy: &dyn Entropy) -> Result<Bytes, Failure> {
        let mut name = [0; NAME_BYTES];
        entropy.fill(&mut name);
        let name = Bytes::copy_from_slice(&name);
        let mut answers = self.swept(now);
        if answers.len() >= ANSWERS_MAX {
            let message = format!("{ANSWERS_MAX} answers wait to be fetched, as many as this node holds; ask again");
            return Err(Failure::new(ErrorCode::Busy, message));
        }
        answers.insert(name.clone(), (answer, now + HELD_FOR));
        Ok(name)
    }

    /// Fetches an answer, once.
    pub(super) fn fetch(&self, name: &Bytes, now: Instant) -> Option<Roomed> {
        self.swept(now).remove(name).map(|(answer, _)| answer)
    }

    /// Lets go what waited too long, again and again until `stop`.
    pub(super) async fn keep_swept(self: Arc<Self>, stop: CancellationToken) {
        let mut ticks = interval(SWEEP_EVERY);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                now = ticks.tick() => drop(self.swept(now)),
            }
        }
    }

    /// What does not wait too long yet.
    fn swept(&self, now: Instant) -> MutexGuard<'_, BTreeMap<Bytes, (Roomed, Instant)>> {
        let mut answers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        answers.retain(|_, (_, until)| now < *until);
        answers
    }
}

/// The failure of a fetch that finds nothing.
pub(super) fn gone() -> Failure {
    let seconds = HELD_FOR.as_secs();
    let message = format!("no answer waits under this ticket: one is fetched once, within {seconds} s; ask again");
    Failure::new(ErrorCode::Invalid, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::department::outgoing::Outgoing;
    use crate::environment::Environment;
    use arrow::datatypes::Schema;

    fn keep(held: &Held, outgoing: &Outgoing, now: Instant) -> Result<Bytes, Failure> {
        let schema = Arc::new(Schema::empty());
        let answer = Answer { schema, batches: Vec::new(), completeness: Vec::new(), notices: Vec::new() };
        held.keep((answer, outgoing.take(10)?), now, &*Environment::real().entropy)
    }

    #[tokio::test]
    async fn an_answer_is_fetched_once_and_in_time() {
        let (held, outgoing, now) = (Held::default(), Outgoing::new(20, HELD_FOR), Instant::now());
        let name = keep(&held, &outgoing, now).unwrap();
        let late = keep(&held, &outgoing, now).unwrap();
        assert_ne!(name, late);
        assert_eq!(keep(&held, &outgoing, now).unwrap_err().code(), ErrorCode::Busy, "what waits takes room");
        assert!(held.fetch(&name, now).is_some());
        assert!(held.fetch(&name, now).is_none());
        assert!(held.fetch(&late, now + HELD_FOR).is_none());
        assert!(outgoing.take(20).is_ok(), "what waited too long takes none");
    }

    #[tokio::test]
    async fn answers_that_wait_are_few() {
        let (held, outgoing, now) = (Held::default(), Outgoing::new(u32::MAX, HELD_FOR), Instant::now());
        for _ in 0..ANSWERS_MAX {
            keep(&held, &outgoing, now).unwrap();
        }
        assert_eq!(keep(&held, &outgoing, now).unwrap_err().code(), ErrorCode::Busy);
        assert!(keep(&held, &outgoing, now + HELD_FOR).is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn what_nobody_fetches_is_let_go_by_itself() {
        let (held, outgoing, stop) = (Arc::new(Held::default()), Outgoing::new(10, HELD_FOR), CancellationToken::new());
        keep(&held, &outgoing, Instant::now()).unwrap();
        let sweeping = tokio::spawn(Arc::clone(&held).keep_swept(stop.clone()));
        tokio::time::sleep(HELD_FOR + SWEEP_EVERY).await;
        assert!(outgoing.take(10).is_ok());
        stop.cancel();
        sweeping.await.unwrap();
    }
}
