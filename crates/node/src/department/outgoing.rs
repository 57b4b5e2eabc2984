//! Answers on their way out. An answer is whole in memory until it is read, and a question's place is free by then: so
//! all answers together are bounded, and one that nobody reads on is given up.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use civicmesh_proto::department::v1::ErrorCode;
use futures::{Stream, StreamExt, stream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::Status;

use super::failure::Failure;

/// Pieces of an answer that wait to be sent. Each is counted until it has been taken.
const PIECES_MAX: usize = 1;

/// Room for the answers that are on their way to whoever asked.
#[derive(Clone, Debug)]
pub(crate) struct Outgoing {
    room: Arc<Semaphore>,
    bytes_max: u32,
    idle_max: Duration,
}

/// Room that one answer takes, until its last clone is dropped.
#[derive(Clone, Debug)]
pub(crate) struct Room(#[expect(dead_code, reason = "held, not read")] Arc<OwnedSemaphorePermit>);

impl Outgoing {
    /// Room for `bytes_max` bytes; an answer of which nothing is read for `idle_max` is given up.
    pub(crate) fn new(bytes_max: u32, idle_max: Duration) -> Outgoing {
        Outgoing { room: Arc::new(Semaphore::new(bytes_max as usize)), bytes_max, idle_max }
    }

    /// Room for an answer of so many bytes, or "busy". An answer that is larger than all of it takes all of it.
    pub(crate) fn take(&self, bytes: usize) -> Result<Room, Failure> {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX).clamp(1, self.bytes_max);
        Arc::clone(&self.room).try_acquire_many_owned(bytes).map(Arc::new).map(Room).map_err(|_| {
            let message = format!("answers of {} bytes wait to be read, as many as this node holds", self.bytes_max);
            Failure::new(ErrorCode::Busy, message)
                .instead("read the answers asked for before, or try again in a moment")
        })
    }

    /// How long an answer is kept of which nothing is read.
    pub(crate) fn idle_max(&self) -> Duration {
        self.idle_max
    }

    /// The pieces of an answer one by one. They and their room are dropped once all are taken, the reader is gone or
    /// too slow, or `abort` says so.
    pub(crate) fn send<T: Send + 'static>(
        &self,
        pieces: Vec<T>,
        room: Room,
        tracker: &TaskTracker,
        abort: &CancellationToken,
    ) -> impl Stream<Item = Result<T, Status>> + Send + 'static + use<T> {
        let (sender, receiver) = mpsc::channel(PIECES_MAX);
        let (idle_max, abort) = (self.idle_max, abort.clone());
        let complete = Arc::new(AtomicBool::new(false));
        let completed = Arc::clone(&complete);
        tracker.spawn(async move {
            let _room = room;
            for piece in pieces {
                let sent = tokio::select! {
                    () = abort.cancelled() => return,
                    sent = timeout(idle_max, sender.send(Ok(piece))) => sent,
                };
                match sent {
                    Ok(Ok(())) => {}
                    // the reader is gone
                    Ok(Err(_)) => return,
                    Err(_) => {
                        tracing::info!("an answer that nobody read on was given up");
                        return;
                    }
                }
            }
            completed.store(true, Ordering::Release);
        });
        let broken_off = async move {
            let status = || {
                Failure::new(ErrorCode::Busy, "the answer was given up: it was not read on for too long").status(None)
            };
            (!complete.load(Ordering::Acquire)).then(|| Err(status()))
        };
        ReceiverStream::new(receiver).chain(stream::once(broken_off).filter_map(|broken| async move { broken }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDLE_MAX: Duration = Duration::from_secs(60);

    fn free(outgoing: &Outgoing) -> usize {
        outgoing.room.available_permits()
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_keeps_its_room_until_it_is_read_and_one_that_is_not_read_gives_it_back() {
        let (tracker, abort) = (TaskTracker::new(), CancellationToken::new());
        let outgoing = Outgoing::new(100, IDLE_MAX);
        let room = outgoing.take(80).unwrap();
        assert_eq!(outgoing.take(80).unwrap_err().code(), ErrorCode::Busy);
        let mut read = Box::pin(outgoing.send(vec![1, 2, 3], room, &tracker, &abort));
        assert_eq!(read.next().await.unwrap().unwrap(), 1);
        assert_eq!(free(&outgoing), 20, "it is on its way");
        assert_eq!(read.next().await.unwrap().unwrap(), 2);
        assert_eq!(read.next().await.unwrap().unwrap(), 3);
        assert!(read.next().await.is_none());
        tracker.close();
        tracker.wait().await;
        assert_eq!(free(&outgoing), 100);

        let tracker = TaskTracker::new();
        let mut unread = Box::pin(outgoing.send(vec![1, 2, 3], outgoing.take(1_000).unwrap(), &tracker, &abort));
        assert_eq!(unread.next().await.unwrap().unwrap(), 1);
        tracker.close();
        tracker.wait().await;
        assert_eq!(free(&outgoing), 100, "nobody read it on");
        assert_eq!(unread.next().await.unwrap().unwrap(), 2);
        let status = unread.next().await.unwrap().unwrap_err();
        assert_eq!(status.code(), tonic::Code::ResourceExhausted);
        assert!(unread.next().await.is_none());

        let tracker = TaskTracker::new();
        drop(outgoing.send(vec![1, 2, 3], outgoing.take(50).unwrap(), &tracker, &abort));
        tracker.close();
        tracker.wait().await;
        assert_eq!(free(&outgoing), 100, "the reader is gone");
    }
}
