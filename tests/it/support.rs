//! A gateway on a free port, and clients that speak bytes to it.

mod call;
mod client;
mod free_port;
mod gateway;
mod http;
mod key_server;
mod postgres;
mod socket;
mod stream;
mod threads;
mod wse;

pub(crate) use call::Call;
pub(crate) use client::{Client, frame};
pub(crate) use free_port::free_port;
pub(crate) use gateway::{Process, TestGateway};
pub(crate) use http::{Response, metric, read_response, request, request_on};
pub(crate) use key_server::KeyServer;
pub(crate) use postgres::PostgresServer;
pub(crate) use socket::{Identity, Socket, listen, needs_plaintext};
pub(crate) use stream::EventStream;
pub(crate) use threads::{Patience, RaiseOnDrop};
pub(crate) use wse::{
    WSE_SECRET, WseApp, WseClient, WseForm, WseMessage, deflate, post_json, wse_gateway, wse_hello,
    wse_path, wse_publish, wse_token,
};
