//! How a client logs in: any name, and the query token as its password.
//!
//! The password comes as it is, over TLS or on this machine: the node compares tokens in one way on every wire, and
//! keeps none in a form that a challenge could be made of.

use std::collections::HashMap;
use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use civicmesh_exchange::office::Purpose;
use datafusion_postgres::pgwire::api::auth::{
    ServerParameterProvider, StartupHandler, finish_authentication, protocol_negotiation,
};
use datafusion_postgres::pgwire::api::{
    ClientInfo, ConnectionGuard, ConnectionHandle, ConnectionManager, METADATA_USER, PgWireConnectionState,
};
use datafusion_postgres::pgwire::error::{PgWireError, PgWireResult};
use datafusion_postgres::pgwire::messages::startup::{Authentication, SecretKey, Startup};
use datafusion_postgres::pgwire::messages::{PgWireBackendMessage, PgWireFrontendMessage, ProtocolVersion};
use futures::{Sink, SinkExt};

use super::client::Client;
use super::failure::end;
use super::settings::Settings;
use crate::compose::Parts;
use crate::department::authorize::authorize_header;

/// Bytes of the key that a client shows to cancel a question, as older clients know it and as newer ones do.
const SHORT_KEY_BYTES: usize = 4;
const LONG_KEY_BYTES: usize = 32;

/// Lets clients in.
pub(super) struct Login {
    pub parts: Arc<Parts>,
    pub connections: Arc<ConnectionManager>,
    /// Whether only encrypted connections are let in.
    pub demands_tls: bool,
}

#[async_trait]
impl StartupHandler for Login {
    async fn on_startup<C>(&self, client: &mut C, message: PgWireFrontendMessage) -> PgWireResult<()>
    where
        C: ClientInfo + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        match message {
            PgWireFrontendMessage::Startup(startup) => {
                if self.demands_tls && !client.is_secure() {
                    return Err(end("28000", "this node takes encrypted connections alone: set sslmode=require"));
                }
                protocol_negotiation(client, &startup).await?;
                client.session_extensions().insert(Greeting(self.settings(&startup)?));
                if let Some(user) = startup.parameters.get(METADATA_USER) {
                    client.metadata_mut().insert(METADATA_USER.to_owned(), user.clone());
                }
                client.set_state(PgWireConnectionState::AuthenticationInProgress);
                let demand = Authentication::CleartextPassword;
                client.send(PgWireBackendMessage::Authentication(demand)).await?;
                Ok(())
            }
            PgWireFrontendMessage::PasswordMessageFamily(password) => {
                let password = password.into_password()?;
                let header = format!("Bearer {}", password.password);
                if authorize_header(&self.parts.tokens, Some(&header), &[Purpose::Query]).is_err() {
                    let text = "the password must be this node's query token, as in NODE_DIR/tokens/query";
                    return Err(end("28P01", text));
                }
                let Some(greeting) = client.session_extensions().get::<Greeting>() else {
                    return Err(end("08P01", "a password before a greeting"));
                };
                client.session_extensions().insert(Client::new(greeting.0.clone()));
                self.register(client);
                finish_authentication(client, &Told).await
            }
            _ => Err(end("08P01", "a message before the password")),
        }
    }
}

impl Login {
    /// The settings that a client connects with, each by its name or in `options` as in `-c name=value`.
    fn settings(&self, startup: &Startup) -> PgWireResult<Settings> {
        let city = &self.parts.city;
        let mut settings = Settings::new(city.domain.as_str(), city.zone);
        for (name, value) in &startup.parameters {
            match name.as_str() {
                "user" | "database" | "replication" => {}
                "options" => {
                    let words: Vec<&str> = value.split_whitespace().collect();
                    for word in words {
                        let setting = word.strip_prefix("-c").unwrap_or(word).strip_prefix("--").unwrap_or(word);
                        if let Some((name, value)) = setting.split_once('=') {
                            settings.set(name.trim_start_matches("-c"), value)?;
                        }
                    }
                }
                // what begins so is of the protocol, and may be passed over
                name if name.starts_with("_pq_.") => {}
                name => drop(settings.set(name, value)?),
            }
        }
        Ok(settings)
    }

    /// Gives the client a key to cancel its questions with.
    fn register(&self, client: &mut (impl ClientInfo + ?Sized)) {
        let entropy = &self.parts.environment.entropy;
        let mut bytes = [0; SHORT_KEY_BYTES + LONG_KEY_BYTES];
        entropy.fill(&mut bytes);
        let (number, key) = bytes.split_at(SHORT_KEY_BYTES);
        let of = |bytes: &[u8]| bytes.iter().fold(0_i32, |number, byte| (number << 8) | i32::from(*byte));
        let key = match client.protocol_version() {
            ProtocolVersion::PROTOCOL3_0 => SecretKey::I32(of(&key[..SHORT_KEY_BYTES])),
            _ => SecretKey::Bytes(Bytes::copy_from_slice(key)),
        };
        let number = of(number) & i32::MAX;
        client.set_pid_and_secret_key(number, key.clone());
        let (handle, guard) = self.connections.register(number, key);
        client.session_extensions().insert::<Arc<ConnectionHandle>>(handle);
        client.session_extensions().insert::<ConnectionGuard>(guard);
    }
}

/// What a client greeted with, before it has shown its password.
struct Greeting(Settings);

/// Tells a client what it is connected to.
struct Told;

impl ServerParameterProvider for Told {
    fn server_parameters<C>(&self, client: &C) -> Option<HashMap<String, String>>
    where
        C: ClientInfo,
    {
        let client = client.session_extensions().get::<Client>()?;
        let told = client.kept().settings.told();
        Some(told.into_iter().collect())
    }
}
