//! Who gets in, and what those see who do not.

use std::time::Duration;

use ringfence_server::shared::{AuthMethod, LoginFailure};
use ringfence_server::tls::upstream::{SslMode, UpstreamFiles, config};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_postgres::config::{ChannelBinding, SslMode as ClientSslMode};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::fake::{CLIENT, FakeServer, Firewall, KID, Setup, TOKEN};

/// Connects as drivers do. The error is what the driver shows.
pub(crate) async fn connect(
    firewall: &Firewall,
    user: &str,
    token: &str,
    tls: Option<ChannelBinding>,
) -> Result<tokio_postgres::Client, String> {
    let mut driver = tokio_postgres::Config::new();
    driver.host("localhost").hostaddr(firewall.address.ip()).port(firewall.address.port());
    driver.user(user).password(token).dbname("bank").application_name("test");
    driver.ssl_mode(if tls.is_some() { ClientSslMode::Require } else { ClientSslMode::Disable });
    driver.channel_binding(tls.unwrap_or(ChannelBinding::Prefer));
    let files = UpstreamFiles { root: Some(firewall.tls_dir.path().join("ca.crt")), identity: None };
    let mode = if tls.is_some() { SslMode::VerifyFull } else { SslMode::Require };
    let files = if tls.is_some() { files } else { UpstreamFiles::default() };
    let connector = MakeRustlsConnect::new((*config(mode, &files).unwrap().unwrap()).clone());
    let (client, connection) = driver.connect(connector).await.map_err(|e| match e.as_db_error() {
        Some(db) => format!("{} {}", db.code().code(), db.message()),
        None => e.to_string(),
    })?;
    tokio::spawn(connection);
    Ok(client)
}

pub(crate) async fn ask(client: &tokio_postgres::Client, text: &str) -> Result<usize, tokio_postgres::Error> {
    let rows = client.simple_query(text).await?;
    Ok(rows.iter().map(|m| if let tokio_postgres::SimpleQueryMessage::Row(r) = m { r.len() } else { 0 }).sum())
}

#[tokio::test]
async fn a_token_opens_with_and_without_tls_and_channel_binding() {
    let server = FakeServer::start().await;
    let firewall = Firewall::start(server.address, Setup::default()).await;
    for tls in [None, Some(ChannelBinding::Disable), Some(ChannelBinding::Prefer), Some(ChannelBinding::Require)] {
        for user in [CLIENT.to_owned(), format!("{CLIENT}~{KID}")] {
            let client = connect(&firewall, &user, TOKEN, tls).await.unwrap();
            client.simple_query("hello").await.unwrap();
        }
    }
    let startups = server.startups.lock().unwrap();
    let mut first = startups[0].clone();
    first.sort();
    let expected =
        [("application_name", "test"), ("client_encoding", "UTF8"), ("database", "bank"), ("user", "db_user")];
    assert_eq!(first, expected.map(|(n, v)| (n.to_owned(), v.to_owned())));
}

#[tokio::test]
async fn cleartext_needs_tls() {
    let server = FakeServer::start().await;
    let firewall = Firewall::start(server.address, Setup { auth: AuthMethod::Cleartext, ..Setup::default() }).await;
    let tls = Some(ChannelBinding::Prefer);
    assert!(connect(&firewall, CLIENT, TOKEN, tls).await.is_ok());
    for (user, token) in [(CLIENT, "rft_kkkkkkkk_other"), (CLIENT, "x"), ("ghost", TOKEN)] {
        let error = connect(&firewall, user, token, tls).await.unwrap_err();
        assert_eq!(error, format!("28P01 password authentication failed for user \"{user}\""));
    }
    let error = connect(&firewall, CLIENT, TOKEN, None).await.unwrap_err();
    assert!(error.starts_with("28000 "), "{error}");
}

/// Plays a SCRAM login byte by byte; returns what the firewall sent, its random nonce and the salt taken out.
async fn transcript(firewall: &Firewall, user: &str, token: &str) -> (Vec<Vec<u8>>, String) {
    use postgres_protocol::authentication::sasl::{ChannelBinding, ScramSha256};
    use ringfence_wire::encode;
    let mut tcp = TcpStream::connect(firewall.address).await.unwrap();
    let mut out = Vec::new();
    encode::startup(&mut out, 3, 0, [(&b"user"[..], user.as_bytes())]);
    tcp.write_all(&out).await.unwrap();
    let mut seen = vec![crate::fake::read_message(&mut tcp).await.unwrap().1];
    let mut scram = ScramSha256::new(token.as_bytes(), ChannelBinding::unsupported());
    out.clear();
    encode::sasl_initial_response(&mut out, b"SCRAM-SHA-256", Some(scram.message()));
    tcp.write_all(&out).await.unwrap();
    let challenge = crate::fake::read_message(&mut tcp).await.unwrap().1;
    scram.update(&challenge[4..]).unwrap();
    let words = String::from_utf8(challenge[4..].to_vec()).unwrap();
    let salt = words.split(',').nth(1).unwrap().to_owned();
    let lengths: Vec<usize> = words.split(',').map(str::len).collect();
    seen.push(format!("{lengths:?} {}", words.split(',').nth(2).unwrap()).into_bytes());
    out.clear();
    encode::sasl_response(&mut out, scram.message());
    tcp.write_all(&out).await.unwrap();
    let mut last = Vec::new();
    tcp.read_to_end(&mut last).await.unwrap();
    seen.push(last);
    (seen, salt)
}

#[tokio::test]
async fn unknown_client_and_wrong_token_are_answered_alike() {
    let server = FakeServer::start().await;
    let firewall = Firewall::start(server.address, Setup::default()).await;
    let (wrong, _) = transcript(&firewall, "app", "rft_kkkkkkkk_guess").await;
    let (unknown, salt) = transcript(&firewall, "apq", "rft_kkkkkkkk_guess").await;
    let (again, same_salt) = transcript(&firewall, "apq", "rft_kkkkkkkk_guess").await;
    let renamed =
        |v: &[Vec<u8>]| -> Vec<String> { v.iter().map(|b| String::from_utf8_lossy(b).replace("apq", "app")).collect() };
    assert_eq!(renamed(&wrong), renamed(&unknown));
    assert_eq!((renamed(&unknown), salt), (renamed(&again), same_salt));
    assert!(renamed(&wrong)[2].contains("password authentication failed for user \"app\""));
}

#[tokio::test]
async fn too_many_failures_wait() {
    let server = FakeServer::start().await;
    let firewall = Firewall::start(server.address, Setup::default()).await;
    for _ in 0..10 {
        assert!(connect(&firewall, "ghost", "x", None).await.unwrap_err().starts_with("28P01"));
    }
    assert!(connect(&firewall, "ghost", "x", None).await.unwrap_err().starts_with("53300"));
    assert_eq!(firewall.seen.failures.lock().unwrap().last(), Some(&LoginFailure::RateLimited));
    // Others go on.
    assert!(connect(&firewall, CLIENT, TOKEN, None).await.is_ok());
}

#[tokio::test]
async fn restricted_clients_may_not_bring_every_setting() {
    let server = FakeServer::start().await;
    let firewall = Firewall::start(server.address, Setup { restricted: true, ..Setup::default() }).await;
    let mut driver = tokio_postgres::Config::new();
    driver.host("127.0.0.1").port(firewall.address.port()).user(CLIENT).password(TOKEN).dbname("bank");
    driver.options("-c role=postgres");
    let error = driver.connect(tokio_postgres::NoTls).await.map(drop).unwrap_err();
    assert_eq!(error.as_db_error().unwrap().code().code(), "42501");
    assert!(server.startups.lock().unwrap().is_empty());
}

#[tokio::test]
async fn the_place_is_limited() {
    let server = FakeServer::start().await;
    let firewall = Firewall::start(server.address, Setup { max_connections: 1, ..Setup::default() }).await;
    let first = connect(&firewall, CLIENT, TOKEN, None).await.unwrap();
    let error = connect(&firewall, CLIENT, TOKEN, None).await.map(drop).unwrap_err();
    assert!(error.starts_with("53300"), "{error}");
    drop(first);
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(connect(&firewall, CLIENT, TOKEN, None).await.is_ok());
}

#[tokio::test]
async fn a_server_that_is_away_or_meddled_with_is_said_so() {
    let nobody = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let firewall = Firewall::start(nobody, Setup::default()).await;
    let error = connect(&firewall, CLIENT, TOKEN, None).await.map(drop).unwrap_err();
    assert_eq!(error, "08006 the firewall cannot reach the database server");

    let server = FakeServer::start().await;
    let firewall = Firewall::start(server.address, Setup { upstream_mode: SslMode::Require, ..Setup::default() }).await;
    let error = connect(&firewall, CLIENT, TOKEN, None).await.map(drop).unwrap_err();
    assert_eq!(error, "08006 the firewall cannot reach the database server");
    assert!(server.startups.lock().unwrap().is_empty());
}
