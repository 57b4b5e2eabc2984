//! One connection, from its first byte to its last.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use civicmesh_exchange::link::BoxedIo;
use datafusion_postgres::pgwire::api::cancel::DefaultCancelHandler;
use datafusion_postgres::pgwire::api::{
    ClientInfo, ConnectionManager, DefaultClient, NoopHandler, PgWireConnectionState,
};
use datafusion_postgres::pgwire::error::{ErrorInfo, PgWireError};
use datafusion_postgres::pgwire::messages::{PgWireBackendMessage, PgWireFrontendMessage};
use datafusion_postgres::pgwire::tokio::server::{PgWireMessageServerCodec, process_error, process_message};
use futures::{SinkExt, StreamExt};
use tokio::time::{Instant, sleep_until, timeout_at};
use tokio_util::codec::Framed;

use super::failure::end;
use super::handler::Questions;
use super::line::{Line, Watch};
use super::opening::{Opened, open};
use super::startup::Login;
use super::statement::Statement;
use crate::compose::Parts;

/// Longest that a client may take until it has logged in.
const STARTUP_MAX: Duration = Duration::from_secs(15);

/// Nobody looks at where a client comes from: the listener has.
const SOMEWHERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

type Socket = Framed<Line, PgWireMessageServerCodec<Statement>>;

/// What all connections share.
pub(super) struct Service {
    parts: Arc<Parts>,
    login: Arc<Login>,
    questions: Arc<Questions>,
    copying: Arc<NoopHandler>,
    cancelling: Arc<DefaultCancelHandler>,
}

impl Service {
    pub(super) fn new(parts: Arc<Parts>, demands_tls: bool) -> Service {
        let connections = Arc::new(ConnectionManager::new());
        Service {
            login: Arc::new(Login { parts: parts.clone(), connections: connections.clone(), demands_tls }),
            questions: Arc::new(Questions::new(parts.clone())),
            copying: Arc::new(NoopHandler),
            cancelling: Arc::new(DefaultCancelHandler::new(connections)),
            parts,
        }
    }

    /// Serves one connection until the client ends it or is gone, or the node stops.
    pub(super) async fn serve(&self, io: BoxedIo) {
        let deadline = Instant::now() + STARTUP_MAX;
        let Opened { line, watch, is_secure } = match timeout_at(deadline, open(io, &self.parts.tls)).await {
            Ok(Ok(opened)) => opened,
            Ok(Err(error)) => return tracing::debug!(%error, "a connection did not open"),
            Err(_) => return tracing::debug!("a connection took too long to open"),
        };
        let mut socket = Framed::new(line, PgWireMessageServerCodec::new(DefaultClient::new(SOMEWHERE, is_secure)));
        socket.set_state(PgWireConnectionState::AwaitingStartup);
        if let Err(error) = self.talk(&mut socket, &watch, deadline).await {
            tracing::debug!(%error, "a connection broke");
        }
        // it is gone either way
        let _ = socket.close().await;
    }

    async fn talk(&self, socket: &mut Socket, watch: &Watch, deadline: Instant) -> std::io::Result<()> {
        loop {
            let starts = matches!(
                socket.state(),
                PgWireConnectionState::AwaitingStartup | PgWireConnectionState::AuthenticationInProgress
            );
            let message = tokio::select! {
                biased;
                () = self.parts.tasks.stop.cancelled() => {
                    return say(socket, end("57P01", "the node is stopping")).await;
                }
                () = sleep_until(deadline), if starts => return Ok(()),
                message = socket.next() => message,
            };
            let message = match message {
                None | Some(Ok(PgWireFrontendMessage::Terminate(_))) => return Ok(()),
                Some(Ok(message)) => message,
                Some(Err(error)) => return say(socket, end("08P01", error.to_string())).await,
            };
            let is_extended = message.is_extended_query();
            let processed = tokio::select! {
                () = watch.gone() => return Ok(()),
                () = self.parts.tasks.abort.cancelled() => return Ok(()),
                processed = process_message(
                    message,
                    socket,
                    self.login.clone(),
                    self.questions.clone(),
                    self.questions.clone(),
                    self.copying.clone(),
                    self.cancelling.clone(),
                ) => processed,
            };
            if let Err(error) = processed {
                let error = ErrorInfo::from(error);
                // whoever has not logged in gets no second try: after an error the protocol would take it as logged in
                if starts || error.is_fatal() {
                    return say(socket, PgWireError::UserError(Box::new(error))).await;
                }
                process_error(socket, PgWireError::UserError(Box::new(error)), is_extended).await?;
            }
        }
    }
}

/// Says why a connection ends.
async fn say(socket: &mut Socket, error: PgWireError) -> std::io::Result<()> {
    let error = ErrorInfo::from(error);
    socket.send(PgWireBackendMessage::ErrorResponse(error.into())).await
}
