//! What comes before a connection's first message: the client may ask for encryption, by TLS or by GSS.

use std::io;
use std::sync::Arc;

use civicmesh_exchange::link::BoxedIo;
use civicmesh_exchange::tls::Tls;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::line::{Line, Watch};

/// What asks for TLS.
const TLS_REQUEST: u32 = 80_877_103;
/// What asks for GSS.
const GSS_REQUEST: u32 = 80_877_104;
/// Most requests before the first message.
const REQUESTS_MAX: usize = 3;

/// An open connection.
pub(super) struct Opened {
    pub line: Line,
    pub watch: Watch,
    /// Whether it is encrypted.
    pub is_secure: bool,
}

/// Answers what is asked for, TLS with yes and GSS with no, until the first message begins.
pub(super) async fn open(mut io: BoxedIo, tls: &Arc<Tls>) -> io::Result<Opened> {
    let mut is_secure = false;
    for _ in 0..=REQUESTS_MAX {
        let mut begun = [0; 8];
        io.read_exact(&mut begun).await?;
        let [a, b, c, d, code @ ..] = begun;
        match (u32::from_be_bytes([a, b, c, d]), u32::from_be_bytes(code)) {
            (8, TLS_REQUEST) if !is_secure => {
                say(&mut io, b'S').await?;
                io = Box::new(tls.department_acceptor().accept(io).await?);
                is_secure = true;
            }
            (8, GSS_REQUEST) => say(&mut io, b'N').await?,
            _ => {
                let (line, watch) = Line::new(io, &begun)?;
                return Ok(Opened { line, watch, is_secure });
            }
        }
    }
    Err(io::Error::new(io::ErrorKind::InvalidData, "a client that asks for encryption again and again"))
}

async fn say(io: &mut BoxedIo, answer: u8) -> io::Result<()> {
    io.write_all(&[answer]).await?;
    io.flush().await
}
