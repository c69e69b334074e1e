//! A proxy that does nothing: what tokio and the kernel cost by themselves, so that the benchmark can say what the
//! firewall adds. Bytes are copied both ways and never looked at.
//!
//! `forwarder LISTEN UPSTREAM`

#![allow(clippy::print_stderr)]

use std::process::ExitCode;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};

const BUFFER: usize = 64 * 1024;

#[tokio::main]
async fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let (Some(listen), Some(upstream), None) = (args.next(), args.next(), args.next()) else {
        eprintln!("usage: forwarder LISTEN UPSTREAM");
        return ExitCode::from(2);
    };
    match serve(&listen, &upstream).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("forwarder: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn serve(listen: &str, upstream: &str) -> std::io::Result<()> {
    let listener = TcpListener::bind(listen).await?;
    loop {
        let (client, _) = listener.accept().await?;
        let upstream = upstream.to_owned();
        tokio::spawn(async move {
            if let Err(error) = forward(client, &upstream).await {
                eprintln!("forwarder: {error}");
            }
        });
    }
}

async fn forward(client: TcpStream, upstream: &str) -> std::io::Result<()> {
    let server = TcpStream::connect(upstream).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let up = tokio::spawn(copy(from_client, to_server));
    copy(from_server, to_client).await;
    up.abort();
    Ok(())
}

/// Until one side ends; an error is an end, too.
async fn copy(mut from: OwnedReadHalf, mut to: OwnedWriteHalf) {
    let mut buffer = vec![0; BUFFER];
    while let Ok(n @ 1..) = from.read(&mut buffer).await {
        let Some(bytes) = buffer.get(..n) else { return };
        if to.write_all(bytes).await.is_err() {
            return;
        }
    }
}
