//! A WebSocket connection with the server.

use std::time::{Duration, Instant};

use futures_util::{SinkExt, StreamExt};
use hyper::header::{HeaderValue, ORIGIN, USER_AGENT};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use crate::frame::RECEIVED_BYTES_MAX;
use crate::request::{AGENT, Answer, retry_after};
use crate::transport::{Stream, Transport};

const OPEN_MAX: Duration = Duration::from_secs(10);
const WRITE_MAX: Duration = Duration::from_secs(10);
/// Without a word from the server for so long, it is gone. It answers a ping.
const SILENCE_MAX: Duration = Duration::from_secs(75);
/// How often the server is asked for a word.
pub(crate) const PING_EVERY: Duration = Duration::from_secs(30);

/// Why there is no connection.
#[derive(Debug)]
pub(crate) enum OpenError {
    Unreachable(String),
    /// The server refuses the upgrade.
    Refused(Answer),
}

/// What comes from the server.
#[derive(Debug)]
pub(crate) enum Received {
    Message(Vec<u8>),
    /// It says that this is the end.
    Closed {
        code: u16,
        reason: String,
    },
    /// The connection is gone.
    Lost(String),
}

/// A connection.
pub(crate) struct Link {
    socket: WebSocketStream<Box<dyn Stream>>,
    heard: Instant,
}

impl Link {
    /// Opens one at the address given, which holds a token and is not repeated in errors.
    pub(crate) async fn open(
        transport: &Transport,
        address: &str,
        origin: Option<&str>,
    ) -> Result<Self, OpenError> {
        let stream = transport.connect().await.map_err(OpenError::Unreachable)?;
        let failed = |why: &str| {
            let server = transport.url.shown();
            OpenError::Unreachable(format!("{server} opens no WebSocket: {why}"))
        };
        let request = address.into_client_request();
        let mut request = request.map_err(|_| failed("its address cannot be used"))?;
        let headers = request.headers_mut();
        headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
        if let Some(origin) = origin {
            let origin = HeaderValue::from_str(origin);
            headers.insert(
                ORIGIN,
                origin.map_err(|_| failed("the origin is no header"))?,
            );
        }
        let config = WebSocketConfig::default()
            .read_buffer_size(16 * 1024)
            .max_message_size(Some(RECEIVED_BYTES_MAX))
            .max_frame_size(Some(RECEIVED_BYTES_MAX));
        let opened = client_async_with_config(request, stream, Some(config));
        let opened = timeout(OPEN_MAX, opened)
            .await
            .map_err(|_| failed("it does not answer"))?;
        match opened {
            Ok((socket, _)) => Ok(Self {
                socket,
                heard: Instant::now(),
            }),
            Err(Error::Http(response)) => {
                let text = response.body().as_deref().unwrap_or_default();
                Err(OpenError::Refused(Answer {
                    status: response.status().as_u16(),
                    text: String::from_utf8_lossy(text).trim_end().to_owned(),
                    retry_after: retry_after(response.headers()),
                }))
            }
            Err(error) => Err(failed(&error.to_string())),
        }
    }

    /// What comes next. Nothing is lost when this is dropped before it is done.
    pub(crate) async fn next(&mut self) -> Received {
        loop {
            let message = self.socket.next().await;
            self.heard = Instant::now();
            match message {
                Some(Ok(Message::Text(text))) => {
                    return Received::Message(text.as_bytes().to_vec());
                }
                Some(Ok(Message::Binary(bytes))) => return Received::Message(bytes.to_vec()),
                Some(Ok(Message::Close(frame))) => {
                    let (code, reason) = frame.map_or((1005, String::new()), |frame| {
                        (frame.code.into(), frame.reason.to_string())
                    });
                    return Received::Closed { code, reason };
                }
                Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => {}
                Some(Err(error)) => return Received::Lost(error.to_string()),
                None => return Received::Lost("the server has ended the connection".into()),
            }
        }
    }

    /// Sends one message.
    pub(crate) async fn send(&mut self, text: String) -> Result<(), String> {
        self.write(Message::text(text)).await
    }

    /// Asks the server for a word. An error if it has not had one for long.
    pub(crate) async fn ping(&mut self) -> Result<(), String> {
        if self.heard.elapsed() > SILENCE_MAX {
            return Err("the server has not answered pings".into());
        }
        self.write(Message::Ping(Vec::new().into())).await
    }

    /// Begins the end, with the code 1000. What the server still sends comes from [`Self::next`].
    pub(crate) async fn close(&mut self) -> Result<(), String> {
        let frame = CloseFrame {
            code: CloseCode::Normal,
            reason: "".into(),
        };
        self.write(Message::Close(Some(frame))).await
    }

    /// Sends the answer to the server's close frame, if the server still takes it.
    pub(crate) async fn answer_close(&mut self) {
        let _ = timeout(WRITE_MAX, self.socket.flush()).await;
    }

    async fn write(&mut self, message: Message) -> Result<(), String> {
        match timeout(WRITE_MAX, self.socket.send(message)).await {
            Ok(written) => written.map_err(|error| error.to_string()),
            Err(_) => Err("the server takes no more".into()),
        }
    }
}
