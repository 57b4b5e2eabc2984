//! One file on its way in: spooled, read, stored, and its windows closed. News streams back all the while.

use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use civicmesh_exchange::link::run_blocking;
use civicmesh_exchange::request_id::RequestId;
use civicmesh_model::contract::Status as ContractStatus;
use civicmesh_model::names::SourceName;
use civicmesh_model::time::{UtcMicros, Zone};
use civicmesh_proto::department::v1 as proto;
use civicmesh_proto::department::v1::ErrorCode;
use civicmesh_proto::department::v1::ingest_request::Part;
use civicmesh_proto::department::v1::ingest_response::News;
use tokio::sync::{OwnedSemaphorePermit, mpsc, watch};
use tokio::time::{interval, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Status, Streaming};
use tracing::Instrument;

use super::failure::Failure;
use super::upload::Upload;
use super::{Responses, listed};
use crate::compose::Parts;
use crate::ingest::{self, Desk, Progress, Reject, Summary, Watch};
use crate::metrics::RowFate;
use crate::publisher::Product;
use crate::upkeep::REJECTS_FOLDER;

/// News that waits to be sent.
const NEWS_MAX: usize = 16;
/// Rejects that are shown of one file while it is read; all of them are in the reject file.
const REJECTS_SHOWN_MAX: usize = 1_000;
/// Longest name of a file, in bytes.
const FILE_NAME_BYTES_MAX: usize = 255;
/// Bytes between two reports of an upload.
const UPLOAD_REPORT_BYTES: u64 = 1 << 20;

/// Longest that a caller hears nothing of its ingest.
const NEWS_INTERVAL: Duration = Duration::from_secs(10);

/// Where news of one ingest goes.
type Sender = mpsc::Sender<Result<proto::IngestResponse, Status>>;

/// Begins an ingest; what becomes of it streams back.
pub(super) fn begin(
    parts: &Arc<Parts>,
    id: Option<RequestId>,
    incoming: Streaming<proto::IngestRequest>,
) -> Result<Responses<proto::IngestResponse>, Failure> {
    let place = place(parts)?;
    let (news, receiver) = mpsc::channel(NEWS_MAX);
    let abort = parts.tasks.abort.clone();
    let taking = Taking { parts: Arc::clone(parts), news: news.clone(), told: Mutex::default() };
    let work = async move {
        let mut beat = interval(NEWS_INTERVAL);
        let running = taking.run(incoming, place);
        tokio::pin!(running);
        let last = loop {
            tokio::select! {
                () = news.closed() => {
                    tracing::info!("the caller hung up; what was stored is kept");
                    return;
                }
                () = abort.cancelled() => {
                    let stopping = "the node is stopping; send the file again, it resumes";
                    break Err(Failure::new(ErrorCode::Stopping, stopping));
                }
                ended = &mut running => break ended.map(News::Summary),
                _ = beat.tick() => taking.tell_again(),
            }
        };
        let last = last.map(|news| proto::IngestResponse { news: Some(news) });
        // who hung up meanwhile needs no answer
        let _ = news.send(last.map_err(|failure| failure.status(id.as_ref()))).await;
    };
    parts.tasks.others.spawn(work.in_current_span());
    Ok(Box::pin(ReceiverStream::new(receiver)))
}

/// A place for one more ingest.
fn place(parts: &Parts) -> Result<OwnedSemaphorePermit, Failure> {
    if parts.tasks.stop.is_cancelled() {
        return Err(Failure::new(ErrorCode::Stopping, "the node is stopping"));
    }
    Arc::clone(&parts.ingests).try_acquire_owned().map_err(|_| {
        let busy =
            format!("{} files are being taken in, as many as this node takes at once", parts.config.limits.ingests_max);
        Failure::new(ErrorCode::Busy, busy).instead("try again in a moment")
    })
}

/// Takes in a file whose bytes are here already, and returns what became of it.
pub(crate) async fn take_whole(
    parts: &Arc<Parts>,
    header: proto::IngestHeader,
    content: Vec<u8>,
) -> Result<proto::IngestSummary, Failure> {
    let place = place(parts)?;
    // nobody hears the news: the summary is waited for
    let (news, _) = mpsc::channel(1);
    let taking = Taking { parts: Arc::clone(parts), news, told: Mutex::default() };
    let header = Arc::new(taking.header(header)?);
    let (bytes_max, entropy) = (parts.config.limits.upload_bytes_max, parts.environment.entropy.as_ref());
    let mut upload = Upload::new(&parts.spool, bytes_max, entropy).map_err(disk)?;
    let (upload, written) = run_blocking(&*parts.environment.blocking, move || {
        let written = upload.write(&content);
        (upload, written)
    })
    .await?;
    written?;
    taking.take(&header, upload, place).await
}

/// Takes a wrong file back.
pub(super) fn undo(parts: &Parts, request: &proto::UndoIngestRequest) -> Result<proto::UndoIngestResponse, Failure> {
    let product = taker(parts, &request.dataset)?;
    let rows = product.undo(&request.file)?;
    tracing::info!(dataset = %product.dataset(), rows, "a file was taken back");
    Ok(proto::UndoIngestResponse { rows })
}

/// What a file is, once its header has been read.
struct Header {
    product: Arc<Product>,
    source: SourceName,
    file_name: String,
    complete: Option<Until>,
}

/// Up to when windows are closed.
enum Until {
    /// The last full window in the accepted rows.
    LastFull,
    /// This moment.
    At(UtcMicros),
}

struct Taking {
    parts: Arc<Parts>,
    news: Sender,
    /// The last progress that was told.
    told: Mutex<proto::IngestProgress>,
}

impl Taking {
    async fn run(
        &self,
        mut incoming: Streaming<proto::IngestRequest>,
        place: OwnedSemaphorePermit,
    ) -> Result<proto::IngestSummary, Failure> {
        let limits = &self.parts.config.limits;
        let idle_max = Duration::from_millis(limits.upload_idle_ms_max);
        let Some(Part::Header(header)) = next(&mut incoming, idle_max).await? else {
            return Err(Failure::new(ErrorCode::Invalid, "an ingest begins with its header"));
        };
        let header = Arc::new(self.header(header)?);
        let receiving = timeout(Duration::from_millis(limits.upload_ms_max), self.receive(&mut incoming, idle_max));
        let upload = receiving.await.unwrap_or_else(|_| Err(too_slow("the upload took too long", "upload_ms_max")))?;
        self.take(&header, upload, place).await
    }

    /// Takes in what was received.
    async fn take(
        &self,
        header: &Arc<Header>,
        upload: Upload,
        place: OwnedSemaphorePermit,
    ) -> Result<proto::IngestSummary, Failure> {
        let summary = self.store(header, upload, place).await?;
        if !summary.known {
            self.count(&header.product, &summary);
        }
        self.close(header, summary).await
    }

    fn header(&self, header: proto::IngestHeader) -> Result<Header, Failure> {
        let proto::IngestHeader { dataset, source, file_name, size_bytes, complete, complete_until } = header;
        let product = taker(&self.parts, &dataset)?;
        let invalid = |message: String| Failure::new(ErrorCode::Invalid, message);
        let source = if source.is_empty() { dataset } else { source };
        let source = source.parse().map_err(|error| invalid(format!("the source: {error}")))?;
        if file_name.len() > FILE_NAME_BYTES_MAX || file_name.contains(['/', '\0']) {
            return Err(invalid("the file's name is too long, or has a folder in it".to_owned()));
        }
        if size_bytes > self.parts.config.limits.upload_bytes_max {
            return Err(too_large(self.parts.config.limits.upload_bytes_max));
        }
        let complete = match (complete, complete_until.as_str()) {
            (false, _) => None,
            (true, "") => Some(Until::LastFull),
            (true, text) => Some(Until::At(moment(text, product.zone).ok_or_else(|| {
                let text: String = text.chars().take(40).collect();
                invalid(format!(
                    "complete up to `{text}`: it takes a date, a local time in the city's zone, or RFC 3339"
                ))
                .instead("--complete=2020-06-01, or --complete=2020-06-01T12:00")
            })?)),
        };
        if let Some(Until::At(until)) = complete
            && until > self.parts.environment.clock.now()
        {
            return Err(invalid(format!("{until} is not past yet: nobody can say what it will hold"))
                .instead("--complete with a moment that is past, or without one"));
        }
        Ok(Header { product, source, file_name, complete })
    }

    /// Spools the file's bytes to the disk.
    async fn receive(
        &self,
        incoming: &mut Streaming<proto::IngestRequest>,
        idle_max: Duration,
    ) -> Result<Upload, Failure> {
        let parts = &self.parts;
        let bytes_max = parts.config.limits.upload_bytes_max;
        let mut upload = Upload::new(&parts.spool, bytes_max, parts.environment.entropy.as_ref()).map_err(disk)?;
        let mut reported = 0;
        loop {
            match next(incoming, idle_max).await? {
                Some(Part::Chunk(chunk)) => {
                    let (returned, written) = run_blocking(&*parts.environment.blocking, move || {
                        let written = upload.write(&chunk);
                        (upload, written)
                    })
                    .await?;
                    written?;
                    upload = returned;
                }
                Some(Part::End(_)) => return Ok(upload),
                Some(Part::Header(_)) => {
                    return Err(Failure::new(ErrorCode::Invalid, "an ingest has one header"));
                }
                None => {
                    return Err(Failure::new(
                        ErrorCode::Invalid,
                        "the stream ended before the file did; nothing was stored",
                    ));
                }
            }
            if upload.bytes() - reported >= UPLOAD_REPORT_BYTES {
                reported = upload.bytes();
                self.note(proto::IngestProgress { bytes_received: reported, ..Default::default() });
                self.tell_again();
            }
        }
    }

    /// Reads the file and stores its rows, and passes on how that goes.
    async fn store(
        &self,
        header: &Arc<Header>,
        upload: Upload,
        place: OwnedSemaphorePermit,
    ) -> Result<Summary, Failure> {
        let cut = CancellationToken::new();
        let _cut_when_dropped = cut.clone().drop_guard();
        let (rejects, mut rejected) = mpsc::channel(REJECTS_SHOWN_MAX);
        let (progress, mut progressed) = watch::channel(Progress::default());
        let mut watching = Watching { cut, rejects, progress };
        let (parts, storing) = (Arc::clone(&self.parts), Arc::clone(header));
        let bytes_received = upload.bytes();
        let ingested = run_blocking(&*self.parts.environment.blocking, move || {
            // both are given back when the work ends, also where nobody waits for it any more
            let (upload, _place) = (upload, place);
            let rejects = parts.folder.path().join(REJECTS_FOLDER);
            let desk = Desk { vault: &parts.vault, rejects: &rejects, clock: parts.environment.clock.as_ref() };
            let file = ingest::Upload { path: upload.path(), name: &storing.file_name, source: &storing.source };
            ingest::ingest(&storing.product.recipe, file, desk, &mut watching)
        });
        tokio::pin!(ingested);
        loop {
            tokio::select! {
                Some(reject) = rejected.recv() => self.tell(News::Reject(shown(reject))).await,
                Ok(()) = progressed.changed() => {
                    let progress = *progressed.borrow_and_update();
                    let progress = told(bytes_received, progress);
                    self.note(progress);
                    self.tell(News::Progress(progress)).await;
                }
                ended = &mut ingested => {
                    while let Ok(reject) = rejected.try_recv() {
                        self.tell(News::Reject(shown(reject))).await;
                    }
                    return Ok(ended??);
                }
            }
        }
    }

    /// Completes what was asked for, and waits for the publisher.
    async fn close(&self, header: &Header, summary: Summary) -> Result<proto::IngestSummary, Failure> {
        let product = &header.product;
        let held = product.late_rows_held();
        let mut notes = Vec::new();
        // a file with too many rejects is likely a wrong one: whoever sends it again says that it is not
        if header.complete.is_some() && summary.over_limit && !summary.known {
            notes.push(
                "nothing was completed; `civicmesh ingest undo` takes the file back, or send it again to accept it as it is"
                    .to_owned(),
            );
        } else if header.complete.is_some() {
            self.complete(header, &summary).await?;
        }
        if product.contract.status == ContractStatus::Draft {
            notes.push(
                "the contract is a draft: nothing is released; `civicmesh contract preview` shows what would be"
                    .to_owned(),
            );
        }
        if summary.known {
            notes.push("this file was taken in before; it counts once".to_owned());
        }
        if summary.ahead > 0 {
            notes.push(format!(
                "{} rows are later than the node's clock, {}: they are stored, and close no window; is the clock wrong, or are they?",
                summary.ahead,
                self.parts.environment.clock.now()
            ));
        }
        for (column, values) in &summary.nulled {
            notes.push(format!("{values} values of {column} became null, as the contract says"));
        }
        let closed_through = match self.parts.publishers.turn(product.dataset()).await {
            Ok(closed_through) => closed_through,
            Err(error) if header.complete.is_some() => return Err(error.into()),
            Err(error) => {
                notes.push(format!("the rows are stored; {error}, and is tried again"));
                None
            }
        };
        let reject_file = summary.reject_file.map(|path| path.display().to_string()).unwrap_or_default();
        Ok(proto::IngestSummary {
            accepted: summary.accepted,
            duplicate: summary.duplicate,
            corrected: summary.corrected,
            filtered: summary.filtered,
            rejected: summary.rejected,
            expired: summary.expired,
            late: product.late_rows_held().saturating_sub(held),
            reject_file,
            closed_through_us: closed_through.map(|UtcMicros(micros)| micros),
            over_limit: summary.over_limit,
            resumed: summary.resumed,
            notes,
        })
    }

    async fn complete(&self, header: &Header, summary: &Summary) -> Result<(), Failure> {
        let (parts, product) = (Arc::clone(&self.parts), Arc::clone(&header.product));
        let (file, at) = (
            summary.file,
            match header.complete {
                Some(Until::At(at)) => Some(at),
                Some(Until::LastFull) | None => None,
            },
        );
        run_blocking(&*self.parts.environment.blocking, move || {
            let until = match at {
                Some(at) => Some(at),
                None => parts.vault.last_full(product.dataset(), file)?,
            };
            match until {
                Some(until) => parts.vault.complete(product.dataset(), file, until),
                None => Ok(()),
            }
        })
        .await?
        .map_err(Failure::from)
    }

    fn note(&self, progress: proto::IngestProgress) {
        *self.told.lock().unwrap_or_else(PoisonError::into_inner) = progress;
    }

    /// Tells the last progress, so that the caller knows that the node is there. Where news wait already, it does not.
    fn tell_again(&self) {
        let progress = *self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = self.news.try_send(Ok(proto::IngestResponse { news: Some(News::Progress(progress)) }));
    }

    /// Who hung up needs no news: the task ends at its next wait.
    async fn tell(&self, news: News) {
        let _ = self.news.send(Ok(proto::IngestResponse { news: Some(news) })).await;
    }

    fn count(&self, product: &Product, summary: &Summary) {
        let fates = [
            (RowFate::Accepted, summary.accepted),
            (RowFate::Duplicate, summary.duplicate),
            (RowFate::Corrected, summary.corrected),
            (RowFate::Filtered, summary.filtered),
            (RowFate::Rejected, summary.rejected),
            (RowFate::Expired, summary.expired),
        ];
        for (fate, rows) in fates {
            self.parts.metrics.rows(product.dataset().as_str(), fate, rows);
        }
        let Summary { rows, accepted, rejected, resumed, .. } = *summary;
        tracing::info!(dataset = %product.dataset(), rows, accepted, rejected, resumed, "a file was taken in");
    }
}

/// Hears the pipeline. It never waits: progress is the newest, rejects beyond a bound are counted and not shown.
struct Watching {
    cut: CancellationToken,
    rejects: mpsc::Sender<Reject>,
    progress: watch::Sender<Progress>,
}

impl Watch for Watching {
    fn progress(&mut self, progress: Progress) -> ControlFlow<()> {
        self.progress.send_replace(progress);
        if self.cut.is_cancelled() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    fn reject(&mut self, reject: &Reject) {
        // a full channel: the terminal has seen enough, the reject file has them all
        let _ = self.rejects.try_send(reject.clone());
    }
}

async fn next(incoming: &mut Streaming<proto::IngestRequest>, idle_max: Duration) -> Result<Option<Part>, Failure> {
    match timeout(idle_max, incoming.message()).await {
        Err(_) => Err(too_slow("nothing came for too long", "upload_idle_ms_max")),
        Ok(Ok(Some(message))) => Ok(message.part),
        Ok(Ok(None)) => Ok(None),
        Ok(Err(_)) => Err(Failure::new(
            ErrorCode::Invalid,
            "the stream broke off; nothing past the last acknowledged row was stored",
        )),
    }
}

/// The product that takes from this dataset.
fn taker(parts: &Parts, dataset: &str) -> Result<Arc<Product>, Failure> {
    let found = parts.products.iter().find(|product| product.dataset().as_str() == dataset);
    found.cloned().ok_or_else(|| {
        let names: Vec<String> = parts.products.iter().map(|product| product.dataset().to_string()).collect();
        let message = format!("no contract of this node takes that dataset; there are: {}", listed(&names));
        Failure::new(ErrorCode::UnknownDataset, message)
    })
}

/// A moment as people write it: RFC 3339, or civil time in the city's zone.
fn moment(text: &str, zone: Zone) -> Option<UtcMicros> {
    use chrono::{NaiveDate, NaiveDateTime, NaiveTime};
    if let Ok(moment) = text.parse() {
        return Some(moment);
    }
    let formats = ["%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M:%S", "%Y-%m-%d %H:%M"];
    let local = formats.iter().find_map(|format| NaiveDateTime::parse_from_str(text, format).ok());
    let date = || NaiveDate::parse_from_str(text, "%Y-%m-%d").ok().map(|date| date.and_time(NaiveTime::MIN));
    Some(zone.start_of_local(local.or_else(date)?))
}

fn shown(reject: Reject) -> proto::IngestReject {
    let Reject { line, column, value, reason } = reject;
    let column = column.map(|column| column.to_string()).unwrap_or_default();
    proto::IngestReject { line, column, value, reason: reason.to_string() }
}

fn told(bytes_received: u64, progress: Progress) -> proto::IngestProgress {
    let Progress { bytes, bytes_total, rows, accepted, rejected } = progress;
    proto::IngestProgress {
        bytes_received,
        rows_read: rows,
        rows_accepted: accepted,
        rows_rejected: rejected,
        bytes_read: bytes,
        bytes_to_read: bytes_total,
    }
}

/// An upload that held its place for too long.
fn too_slow(what: &str, limit: &str) -> Failure {
    Failure::new(ErrorCode::Invalid, format!("{what}; the upload's place was given to others, and nothing was stored"))
        .instead(format!("send the file again, or raise `{limit}` under [limits] in node.toml"))
}

fn too_large(bytes_max: u64) -> Failure {
    Failure::new(ErrorCode::TooLarge, format!("the file is larger than {bytes_max} bytes, the node's limit"))
        .instead("split it, or raise `upload_bytes_max` under [limits] in node.toml")
}

fn disk(error: std::io::Error) -> Failure {
    Failure::disk(&error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_write_moments_in_the_citys_zone() {
        let zone: Zone = "America/New_York".parse().unwrap();
        let midnight: UtcMicros = "2020-03-09T04:00:00Z".parse().unwrap();
        for text in ["2020-03-09", "2020-03-09T00:00", "2020-03-09 00:00:00", "2020-03-09T04:00:00Z"] {
            assert_eq!(moment(text, zone), Some(midnight), "{text}");
        }
        assert_eq!(moment("yesterday", zone), None);
    }
}
