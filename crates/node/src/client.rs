//! A typed client of a node's department side, for the command line and for tests.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow::ipc::reader::StreamReader;
use civicmesh_exchange::office::{NodeFolder, OfficeError, Purpose};
use civicmesh_exchange::tls::{Guest, TlsError};
use civicmesh_model::names::{DomainName, ProductId};
use civicmesh_model::time::UtcMicros;
use civicmesh_proto::department::v1 as wire;
use civicmesh_proto::department::v1::department_service_client::DepartmentServiceClient;
use civicmesh_query::{ProductCompleteness, QueryOptions};
use tokio::io::AsyncReadExt;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

use crate::config::{Config, ConfigError, is_loopback};
pub use crate::department::Unreadable;
use crate::department::{asking, completeness_read, detail};
use crate::environment::Environment;
use crate::preview::ProductPreview;
use crate::status::CityStatus;

/// Bytes of a file that are sent at a time.
const CHUNK_BYTES: usize = 256 << 10;
/// Chunks that wait to be sent.
const CHUNKS_MAX: usize = 4;
/// Longest message that is taken from a node, in bytes.
const MESSAGE_BYTES_MAX: usize = 8 << 20;
/// Longest answer that is taken from a node, in bytes.
const ANSWER_BYTES_MAX: usize = 1 << 30;
/// Pause between two tries while a node is awaited.
const READY_PAUSE: Duration = Duration::from_millis(50);
/// Longest wait for a connection, TLS and all.
const CONNECT_MAX: Duration = Duration::from_secs(15);
/// Longest wait for what a node has at hand: its status, and news of an ingest, which come every ten seconds.
const NEWS_MAX: Duration = Duration::from_secs(60);
/// Longest wait for what a node must work for. It has a limit of its own, which it tells; this one is for a node that hangs.
const WORK_MAX: Duration = Duration::from_secs(3_600);
/// How often a connection is probed while a call waits, and how long for an answer: a host that is gone says nothing.
const PROBE_INTERVAL: Duration = Duration::from_secs(20);

/// Why a node could not be asked, or what it said instead of an answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The node's folder cannot be read.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The node's token cannot be read.
    #[error(transparent)]
    Office(#[from] OfficeError),
    /// The city's certificate cannot be read.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// A file cannot be read.
    #[error("{what}: {error}")]
    File {
        /// The file.
        what: String,
        /// Why not.
        error: io::Error,
    },
    /// Not a folder and not a URL.
    #[error("`{node}` is neither a node's folder nor http://HOST:PORT or https://HOST:PORT")]
    NoTarget {
        /// What was given.
        node: String,
    },
    /// https without the city's certificate.
    #[error(
        "{node}: whose certificate is to be believed? name the folder that holds the city's city.pem in CIVICMESH_CITY"
    )]
    NoCity {
        /// What was given.
        node: String,
    },
    /// https without the domain that is expected there.
    #[error(
        "{node}: whose node is expected there? name its domain in CIVICMESH_DOMAIN: another domain's node must not see the token"
    )]
    NoDomain {
        /// What was given.
        node: String,
    },
    /// A token over a link that anyone on the way can read.
    #[error(
        "{node}: a token is not sent beyond this machine without TLS; use https://, with CIVICMESH_CITY and CIVICMESH_DOMAIN"
    )]
    PlainToken {
        /// What was given.
        node: String,
    },
    /// The node said nothing for too long.
    #[error("the node at {address} said nothing for {seconds} s; it was given up")]
    Silent {
        /// The address.
        address: String,
        /// How long it was waited for.
        seconds: u64,
    },
    /// Nobody answers there.
    #[error("no node answers at {address}; is it running?")]
    Unreachable {
        /// The address.
        address: String,
    },
    /// The node says no, in plain words.
    #[error("{message}")]
    Refused {
        /// The reason, for programs: the error code's name.
        code: String,
        /// The reason, for people.
        message: String,
        /// What to write or do instead.
        instead: Option<String>,
        /// The product concerned.
        product: Option<String>,
        /// The request's id, as in the node's log.
        request_id: String,
    },
    /// Completeness, freshness or coverage was demanded, and the answer falls short of it.
    #[error("{message}")]
    Incomplete {
        /// What is missing.
        message: String,
    },
    /// The connection broke off.
    #[error("the node broke off: {message}")]
    BrokenOff {
        /// What gRPC says.
        message: String,
    },
    /// An answer that cannot be read.
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
    /// Rows that cannot be read.
    #[error("the node's rows cannot be read; are both of one version?")]
    Rows,
}

/// What a client shows and believes where no node's folder tells it.
#[derive(Clone, Default)]
pub struct Credentials {
    /// The token; by default the one in the node's folder.
    pub token: Option<String>,
    /// The folder that holds the certificate of the city, `city.pem`: needed for https.
    pub city: Option<PathBuf>,
    /// The domain whose node is expected: needed for https, since every node of the city has a certificate of the city's.
    pub domain: Option<DomainName>,
}

/// When an ingest closes windows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Complete {
    /// Not by itself: the watermark decides.
    No,
    /// Up to the last full window in the accepted rows.
    LastFull,
    /// Up to this moment: RFC 3339, or civil time in the city's zone.
    Until(String),
}

/// One file to be taken in.
#[derive(Clone, Debug)]
pub struct IngestRequest {
    /// The dataset, as the contract names it.
    pub dataset: String,
    /// The feed; by default the dataset's name.
    pub source: Option<String>,
    /// The file.
    pub file: PathBuf,
    /// When windows are closed.
    pub complete: Complete,
}

/// News of an ingest on its way.
#[derive(Clone, Debug)]
pub enum IngestEvent {
    /// So much of the file has been sent.
    Uploaded {
        /// Bytes sent.
        bytes: u64,
        /// Bytes in all.
        total: u64,
    },
    /// So far the node is; accepted rows are durable.
    Rows {
        /// Bytes of the file that the node has read; it reads it twice.
        bytes: u64,
        /// Bytes to read in all.
        total: u64,
        /// Rows read.
        read: u64,
        /// Rows stored.
        accepted: u64,
        /// Rows rejected.
        rejected: u64,
    },
    /// A row that was not taken.
    Reject(Reject),
}

/// A row that was not taken. Holds the offending value: for the department's own terminal only.
#[derive(Clone)]
pub struct Reject {
    /// Line in the file, from 1; the row's number where there are no lines.
    pub line: u64,
    /// The column; empty if the row as a whole is malformed.
    pub column: String,
    /// The value as it stood in the file.
    pub value: String,
    /// Why.
    pub reason: String,
}

impl std::fmt::Debug for Reject {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Reject(line {}, redacted)", self.line)
    }
}

/// What became of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct IngestSummary {
    /// Rows stored.
    pub accepted: u64,
    /// Rows seen before, counted once.
    pub duplicate: u64,
    /// Rows that change an earlier row with the same key.
    pub corrected: u64,
    /// Rows that the contract's filter leaves out.
    pub filtered: u64,
    /// Rows that were not taken.
    pub rejected: u64,
    /// Rows that came for days whose observations are past their retention; not kept.
    pub expired: u64,
    /// Rows whose window was released before.
    pub late: u64,
    /// Rows that an earlier, broken-off ingest of the same file had stored.
    pub resumed: u64,
    /// Where the node keeps the rejected rows.
    pub reject_file: Option<String>,
    /// Windows that end by then are closed.
    pub closed_through: Option<UtcMicros>,
    /// More rejects than the contract allows.
    pub rejects_exceeded: bool,
    /// What the department should know besides.
    pub notes: Vec<String>,
}

/// An answer: the rows, and what they are missing.
#[derive(Clone, Debug)]
pub struct QueryAnswer {
    /// The columns.
    pub schema: SchemaRef,
    /// The rows.
    pub batches: Vec<RecordBatch>,
    /// One for each product that the question touches.
    pub completeness: Vec<ProductCompleteness>,
    /// What the asker should know beside, in plain words.
    pub notices: Vec<String>,
    /// How long it took, from the question to the last row.
    pub elapsed: Duration,
}

/// A client of one node.
#[derive(Clone)]
pub struct Client {
    service: DepartmentServiceClient<Channel>,
    bearer: Option<MetadataValue<Ascii>>,
    address: String,
}

impl Client {
    /// A client of `node`: a node's folder, whose `node.toml` names the address and whose `tokens/` holds the token
    /// for `purpose`; or a URL, then with `credentials`. Connects when first asked.
    pub fn connect(node: &str, purpose: Purpose, credentials: Credentials) -> Result<Client, ClientError> {
        let target = Target::of(node, purpose, credentials)?;
        let endpoint = Endpoint::from_shared(format!("http://{}", target.address))
            .map_err(|_| ClientError::NoTarget { node: node.to_owned() })?
            .http2_keep_alive_interval(PROBE_INTERVAL)
            .keep_alive_timeout(PROBE_INTERVAL);
        let network = Environment::real().network;
        let address = target.address.clone();
        let tls = target.tls.map(Arc::new);
        let channel = endpoint.connect_with_connector_lazy(tower::service_fn(move |_| {
            let (network, address, tls) = (Arc::clone(&network), address.clone(), tls.clone());
            async move {
                let connecting = async {
                    let io = network.connect(&address).await?;
                    match tls {
                        None => Ok(io),
                        Some(tls) => tls.connect(io).await.map_err(io::Error::other),
                    }
                };
                let io = tokio::time::timeout(CONNECT_MAX, connecting).await.map_err(|_| io::ErrorKind::TimedOut)??;
                Ok::<_, io::Error>(hyper_util::rt::TokioIo::new(io))
            }
        }));
        let service = DepartmentServiceClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX);
        Ok(Client { service, bearer: target.bearer, address: target.address })
    }

    /// Waits until the node answers, at most for `within`.
    pub async fn wait_ready(&mut self, within: Duration) -> Result<(), ClientError> {
        let ready = async {
            while let Err(ClientError::Unreachable { .. }) = self.status().await {
                tokio::time::sleep(READY_PAUSE).await;
            }
        };
        tokio::time::timeout(within, ready)
            .await
            .map_err(|_| ClientError::Unreachable { address: self.address.clone() })
    }

    /// Sends one file, tells `news` how it goes, and returns what became of it.
    pub async fn ingest(
        &mut self,
        request: &IngestRequest,
        news: &mut (dyn FnMut(IngestEvent) + Send),
    ) -> Result<IngestSummary, ClientError> {
        let (parts, sent) = upload(request).await?;
        let total = sent.total;
        let outgoing = self.request(ReceiverStream::new(parts));
        let mut service = self.service.clone();
        let mut incoming = self.within(NEWS_MAX, service.ingest(outgoing)).await?.into_inner();
        let mut summary = None;
        while let Some(response) = self.within(NEWS_MAX, incoming.message()).await? {
            match response.news {
                Some(wire::ingest_response::News::Progress(progress)) => {
                    let wire::IngestProgress {
                        bytes_received,
                        rows_read,
                        rows_accepted,
                        rows_rejected,
                        bytes_read,
                        bytes_to_read,
                    } = progress;
                    news(match bytes_to_read {
                        0 => IngestEvent::Uploaded { bytes: bytes_received, total },
                        to_read => IngestEvent::Rows {
                            bytes: bytes_read,
                            total: to_read,
                            read: rows_read,
                            accepted: rows_accepted,
                            rejected: rows_rejected,
                        },
                    });
                }
                Some(wire::ingest_response::News::Reject(reject)) => {
                    let wire::IngestReject { line, column, value, reason } = reject;
                    news(IngestEvent::Reject(Reject { line, column, value, reason }));
                }
                Some(wire::ingest_response::News::Summary(ended)) => summary = Some(ended.into()),
                None => return Err(Unreadable { field: "news" }.into()),
            }
        }
        if let Some(error) = sent.failed() {
            return Err(ClientError::File { what: request.file.display().to_string(), error });
        }
        summary.ok_or_else(|| ClientError::BrokenOff { message: "no summary came".to_owned() })
    }

    /// Takes a wrong file back before its windows are released. The node knows it by its name without folders, or by
    /// the hash of its content.
    pub async fn undo(&mut self, dataset: &str, file: &Path) -> Result<u64, ClientError> {
        let message = wire::UndoIngestRequest { dataset: dataset.to_owned(), file: name_of(file) };
        let request = self.request(message);
        let mut service = self.service.clone();
        let undone = self.within(WORK_MAX, service.undo_ingest(request)).await?;
        Ok(undone.into_inner().rows)
    }

    /// Makes the node forget what it holds of a peer's product, and pull it anew. Returns how many entries it forgot.
    pub async fn drop_replica(&mut self, product: &ProductId) -> Result<u64, ClientError> {
        let request = self.request(wire::DropReplicaRequest { product: product.to_string() });
        let mut service = self.service.clone();
        let dropped = self.within(WORK_MAX, service.drop_replica(request)).await?;
        Ok(dropped.into_inner().entries)
    }

    /// Asks a question.
    pub async fn query(&mut self, sql: &str, options: &QueryOptions) -> Result<QueryAnswer, ClientError> {
        let begun = tokio::time::Instant::now();
        let request = self.request(asking(sql, options));
        let mut service = self.service.clone();
        let mut parts = self.within(WORK_MAX, service.query(request)).await?.into_inner();
        let (mut ipc, mut completeness) = (Vec::new(), None);
        while let Some(part) = self.within(NEWS_MAX, parts.message()).await? {
            match part.part {
                Some(wire::query_response::Part::Ipc(bytes)) if ipc.len() + bytes.len() <= ANSWER_BYTES_MAX => {
                    ipc.extend_from_slice(&bytes);
                }
                Some(wire::query_response::Part::Completeness(found)) => completeness = Some(found),
                Some(wire::query_response::Part::Ipc(_)) | None => return Err(ClientError::Rows),
            }
        }
        let completeness = completeness.ok_or(ClientError::Rows)?;
        let reader = StreamReader::try_new(ipc.as_slice(), None).map_err(|_| ClientError::Rows)?;
        let schema = reader.schema();
        let batches = reader.collect::<Result<_, _>>().map_err(|_| ClientError::Rows)?;
        let wire::Completeness { products, notices } = completeness;
        let completeness = products.into_iter().map(completeness_read).collect::<Result<_, _>>()?;
        Ok(QueryAnswer { schema, batches, completeness, notices, elapsed: begun.elapsed() })
    }

    /// The city as the node sees it.
    pub async fn status(&mut self) -> Result<CityStatus, ClientError> {
        let request = self.request(wire::StatusRequest {});
        let mut service = self.service.clone();
        let status = self.within(NEWS_MAX, service.status(request)).await?;
        Ok(status.into_inner().try_into()?)
    }

    /// What would leave, were the contract active.
    pub async fn preview(&mut self, product: &str) -> Result<ProductPreview, ClientError> {
        let request = self.request(wire::PreviewRequest { product: product.to_owned() });
        let mut service = self.service.clone();
        let preview = self.within(WORK_MAX, service.preview(request)).await?;
        Ok(preview.into_inner().try_into()?)
    }

    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        if let Some(bearer) = &self.bearer {
            request.metadata_mut().insert("authorization", bearer.clone());
        }
        request
    }

    /// What a call gives, unless the node is silent for longer than `wait_max`.
    async fn within<T>(
        &self,
        wait_max: Duration,
        call: impl Future<Output = Result<T, Status>>,
    ) -> Result<T, ClientError> {
        match tokio::time::timeout(wait_max, call).await {
            Ok(answered) => answered.map_err(|status| self.refused(status)),
            Err(_) => Err(ClientError::Silent { address: self.address.clone(), seconds: wait_max.as_secs() }),
        }
    }

    fn refused(&self, status: Status) -> ClientError {
        let Some(detail) = detail(&status) else {
            return match status.code() {
                tonic::Code::Unavailable => ClientError::Unreachable { address: self.address.clone() },
                // what no node of ours said: of a port that speaks something else nothing more is known
                _ => {
                    let message = format!("{}; is {} its department's port?", status.message(), self.address);
                    ClientError::BrokenOff { message }
                }
            };
        };
        let code = detail.code();
        let wire::ErrorDetail { code: _, message, instead, product, request_id } = detail;
        if matches!(code, wire::ErrorCode::Incomplete | wire::ErrorCode::Stale | wire::ErrorCode::Uncovered) {
            return ClientError::Incomplete { message };
        }
        let some = |text: String| (!text.is_empty()).then_some(text);
        ClientError::Refused {
            code: code.as_str_name().to_owned(),
            message,
            instead: some(instead),
            product: some(product),
            request_id,
        }
    }
}

impl From<wire::IngestSummary> for IngestSummary {
    fn from(summary: wire::IngestSummary) -> Self {
        let wire::IngestSummary {
            accepted,
            duplicate,
            corrected,
            filtered,
            rejected,
            expired,
            late,
            reject_file,
            closed_through_us,
            over_limit,
            resumed,
            notes,
        } = summary;
        IngestSummary {
            accepted,
            duplicate,
            corrected,
            filtered,
            rejected,
            expired,
            late,
            resumed,
            reject_file: (!reject_file.is_empty()).then_some(reject_file),
            closed_through: closed_through_us.map(UtcMicros),
            rejects_exceeded: over_limit,
            notes,
        }
    }
}

/// Where a client goes, and with what token.
struct Target {
    address: String,
    tls: Option<Guest>,
    bearer: Option<MetadataValue<Ascii>>,
}

impl Target {
    fn of(node: &str, purpose: Purpose, credentials: Credentials) -> Result<Target, ClientError> {
        let wrong = || ClientError::NoTarget { node: node.to_owned() };
        let Credentials { token, city, domain } = credentials;
        if let Some(address) = node.strip_prefix("http://") {
            let address = address.trim_end_matches('/').to_owned();
            if token.is_some() && !is_loopback(&address) {
                return Err(ClientError::PlainToken { node: node.to_owned() });
            }
            return Ok(Target { address, tls: None, bearer: bearer(token)? });
        }
        if let Some(address) = node.strip_prefix("https://") {
            let address = address.trim_end_matches('/').to_owned();
            let city = city.ok_or_else(|| ClientError::NoCity { node: node.to_owned() })?;
            let domain = domain.ok_or_else(|| ClientError::NoDomain { node: node.to_owned() })?;
            let tls = Some(Guest::load(&city, Some(domain), Environment::real().clock)?);
            return Ok(Target { address, tls, bearer: bearer(token)? });
        }
        if node.contains("://") {
            return Err(wrong());
        }
        let dir = Path::new(node);
        if !dir.is_dir() {
            return Err(wrong());
        }
        let config = Config::read(dir)?;
        let token = match token {
            Some(token) => token,
            None => NodeFolder::new(dir).token(purpose)?.expose().to_owned(),
        };
        let folder = NodeFolder::new(dir);
        let tls = match config.department.tls {
            false => None,
            true => Some(Guest::load(&folder.tls(), Some(config.node.domain.clone()), Environment::real().clock)?),
        };
        let address = config.node.department_listen.replace("0.0.0.0:", "127.0.0.1:").replace("[::]:", "[::1]:");
        Ok(Target { address, tls, bearer: bearer(Some(token))? })
    }
}

fn bearer(token: Option<String>) -> Result<Option<MetadataValue<Ascii>>, ClientError> {
    token
        .map(|token| format!("Bearer {}", token.trim()).parse())
        .transpose()
        .map_err(|_| ClientError::File { what: "token".to_owned(), error: io::ErrorKind::InvalidData.into() })
}

/// A file's name without folders.
fn name_of(file: &Path) -> String {
    file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

/// A file on its way out.
struct Sent {
    total: u64,
    failure: std::sync::mpsc::Receiver<io::Error>,
}

impl Sent {
    /// Why the file could not be read to its end, if so.
    fn failed(&self) -> Option<io::Error> {
        self.failure.try_recv().ok()
    }
}

/// Reads a file into the parts of an upload, as fast as they are taken.
async fn upload(request: &IngestRequest) -> Result<(mpsc::Receiver<wire::IngestRequest>, Sent), ClientError> {
    use wire::ingest_request::Part;
    let unreadable = |error| ClientError::File { what: request.file.display().to_string(), error };
    let mut file = tokio::fs::File::open(&request.file).await.map_err(unreadable)?;
    let metadata = file.metadata().await.map_err(unreadable)?;
    if metadata.is_dir() {
        return Err(unreadable(io::ErrorKind::IsADirectory.into()));
    }
    let total = metadata.len();
    let (complete, complete_until) = match &request.complete {
        Complete::No => (false, String::new()),
        Complete::LastFull => (true, String::new()),
        Complete::Until(until) => (true, until.clone()),
    };
    let header = wire::IngestHeader {
        dataset: request.dataset.clone(),
        source: request.source.clone().unwrap_or_default(),
        file_name: name_of(&request.file),
        size_bytes: total,
        complete,
        complete_until,
    };
    let (sender, parts) = mpsc::channel(CHUNKS_MAX);
    let (fail, failure) = std::sync::mpsc::channel();
    tokio::spawn(async move {
        let mut part = Part::Header(header);
        loop {
            let ended = matches!(part, Part::End(_));
            // the node hung up: its response says why
            if sender.send(wire::IngestRequest { part: Some(part) }).await.is_err() || ended {
                return;
            }
            let mut chunk = Vec::with_capacity(CHUNK_BYTES);
            part = match (&mut file).take(CHUNK_BYTES as u64).read_to_end(&mut chunk).await {
                Ok(0) => Part::End(wire::IngestEnd {}),
                Ok(_) => Part::Chunk(chunk.into()),
                Err(error) => {
                    // without an end the node stores nothing of it
                    let _ = fail.send(error);
                    return;
                }
            };
        }
    });
    Ok((parts, Sent { total, failure }))
}
