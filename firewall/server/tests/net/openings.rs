//! Everything that a connection may begin with.

use std::sync::Arc;
use std::time::Duration;

use ringfence_server::tls::upstream::{SslMode, UpstreamFiles, config};
use ringfence_wire::encode;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::fake::{CLIENT, FakeServer, Firewall, Setup, read_message};

async fn firewall(setup: Setup) -> Firewall {
    let server = FakeServer::start().await;
    Firewall::start(server.address, setup).await
}

fn startup(minor: u16, extra: &[(&str, &str)]) -> Vec<u8> {
    let mut out = Vec::new();
    let own = [("user", CLIENT), ("database", "bank")];
    let pairs = own.iter().chain(extra).map(|(n, v)| (n.as_bytes(), v.as_bytes()));
    encode::startup(&mut out, 3, minor, pairs);
    out
}

fn packet(encoder: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::new();
    encoder(&mut out);
    out
}

/// All that comes until the firewall closes.
async fn rest(stream: &mut (impl AsyncReadExt + Unpin)) -> Vec<u8> {
    let mut all = Vec::new();
    let reading = async {
        let mut buf = [0; 1024];
        while let Ok(n @ 1..) = stream.read(&mut buf).await {
            all.extend_from_slice(&buf[..n]);
        }
    };
    tokio::time::timeout(Duration::from_secs(5), reading).await.expect("the firewall closes");
    all
}

async fn byte(tcp: &mut TcpStream) -> u8 {
    tokio::time::timeout(Duration::from_secs(5), tcp.read_u8()).await.unwrap().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[tokio::test]
async fn without_tls_both_requests_get_a_no_and_the_startup_an_answer() {
    let firewall = firewall(Setup { tls: false, ..Setup::default() }).await;
    let mut tcp = TcpStream::connect(firewall.address).await.unwrap();
    tcp.write_all(&packet(encode::gss_request)).await.unwrap();
    assert_eq!(byte(&mut tcp).await, b'N');
    tcp.write_all(&packet(encode::ssl_request)).await.unwrap();
    assert_eq!(byte(&mut tcp).await, b'N');
    tcp.write_all(&startup(0, &[])).await.unwrap();
    let (tag, body) = read_message(&mut tcp).await.unwrap();
    assert_eq!((tag, &body[..]), (b'R', &b"\0\0\0\x0aSCRAM-SHA-256\0\0"[..]));
}

#[tokio::test]
async fn a_second_request_for_encryption_closes() {
    let firewall = firewall(Setup { tls: false, ..Setup::default() }).await;
    for encoder in [encode::gss_request, encode::ssl_request] {
        let mut tcp = TcpStream::connect(firewall.address).await.unwrap();
        for _ in 0..2 {
            tcp.write_all(&packet(encoder)).await.unwrap();
        }
        assert_eq!(rest(&mut tcp).await, b"N");
    }
}

#[tokio::test]
async fn bytes_before_the_handshake_end_the_connection() {
    let firewall = firewall(Setup::default()).await;
    let mut tcp = TcpStream::connect(firewall.address).await.unwrap();
    let both = [packet(encode::ssl_request), startup(0, &[])].concat();
    tcp.write_all(&both).await.unwrap();
    assert_eq!(rest(&mut tcp).await, b"");
    // … and when they come just after the answer, they are no handshake.
    let mut tcp = TcpStream::connect(firewall.address).await.unwrap();
    tcp.write_all(&packet(encode::ssl_request)).await.unwrap();
    assert_eq!(byte(&mut tcp).await, b'S');
    tcp.write_all(&startup(0, &[])).await.unwrap();
    let answer = rest(&mut tcp).await;
    // At most a TLS alert.
    assert!(answer.is_empty() || answer[0] == 0x15, "{answer:?}");
}

#[tokio::test]
async fn plaintext_is_refused_with_a_way_out() {
    let firewall = firewall(Setup { allow_plaintext: false, ..Setup::default() }).await;
    let mut tcp = TcpStream::connect(firewall.address).await.unwrap();
    tcp.write_all(&startup(0, &[])).await.unwrap();
    let answer = text(&rest(&mut tcp).await);
    assert!(answer.contains("C28000") && answer.contains("sslmode=require"), "{answer}");
}

#[tokio::test]
async fn tls_at_once_needs_the_protocols_name() {
    let firewall = firewall(Setup::default()).await;
    let client = config(SslMode::Require, &UpstreamFiles::default()).unwrap().unwrap();
    for (alpn, accepted) in [(vec![b"postgresql".to_vec()], true), (vec![], false), (vec![b"http/1.1".to_vec()], false)]
    {
        let mut client = rustls::ClientConfig::clone(&client);
        client.alpn_protocols = alpn;
        let tcp = TcpStream::connect(firewall.address).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let Ok(mut tls) = TlsConnector::from(Arc::new(client)).connect(name, tcp).await else {
            assert!(!accepted);
            continue;
        };
        let _ = tls.write_all(&startup(0, &[])).await;
        let first = read_message(&mut tls).await;
        assert_eq!(first.is_some(), accepted);
        if let Some((tag, body)) = first {
            assert_eq!((tag, text(&body[4..])), (b'R', "SCRAM-SHA-256-PLUS\0SCRAM-SHA-256\0\0".to_owned()));
        }
    }
}

#[tokio::test]
async fn versions_are_negotiated_down() {
    let firewall = firewall(Setup::default()).await;
    for (minor, options, negotiated) in [
        (0, vec![], None),
        (2, vec![], None),
        (9999, vec![], Some((0x0003_0002_u32, 0_u32))),
        (0, vec![("_pq_.x", "1")], Some((0x0003_0000, 1))),
        (3, vec![("_pq_.x", "1"), ("_pq_.y", "1")], Some((0x0003_0002, 2))),
    ] {
        let mut tcp = TcpStream::connect(firewall.address).await.unwrap();
        tcp.write_all(&startup(minor, &options)).await.unwrap();
        let (mut tag, body) = read_message(&mut tcp).await.unwrap();
        if let Some((newest, count)) = negotiated {
            assert_eq!(tag, b'v');
            assert_eq!(body[..8], [newest.to_be_bytes(), count.to_be_bytes()].concat());
            tag = read_message(&mut tcp).await.unwrap().0;
        }
        assert_eq!(tag, b'R');
    }
    let mut tcp = TcpStream::connect(firewall.address).await.unwrap();
    tcp.write_all(&[0, 0, 0, 8, 0, 2, 0, 0]).await.unwrap();
    assert!(text(&rest(&mut tcp).await).contains("C0A000"));
}

#[tokio::test]
async fn garbage_closes_without_a_word() {
    let firewall = firewall(Setup::default()).await;
    for bytes in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0, 0, 0, 4], &[0xff; 64], &[0, 0, 0, 9, 0, 3, 0, 0, 1]] {
        let mut tcp = TcpStream::connect(firewall.address).await.unwrap();
        tcp.write_all(bytes).await.unwrap();
        let _ = tcp.shutdown().await;
        assert_eq!(rest(&mut tcp).await, b"");
    }
}

#[tokio::test]
async fn silence_ends_at_the_startup_timeout() {
    let firewall = firewall(Setup::default()).await;
    let mut tcp = TcpStream::connect(firewall.address).await.unwrap();
    tcp.write_all(&packet(encode::ssl_request)).await.unwrap();
    let begun = std::time::Instant::now();
    assert_eq!(rest(&mut tcp).await, b"S");
    assert!(begun.elapsed() < Duration::from_secs(4));
}
