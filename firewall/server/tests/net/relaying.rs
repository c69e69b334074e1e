//! What happens once a session stands.

use std::sync::atomic::Ordering;
use std::time::Duration;

use ringfence_server::shared::CloseReason;
use ringfence_wire::encode;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tokio_postgres::config::ChannelBinding;

use crate::fake::{CLIENT, FakeServer, Firewall, KID, SERVER_PID, SERVER_SECRET, Setup, TOKEN};
use crate::login::{ask, connect};

async fn firewall() -> (FakeServer, Firewall) {
    let server = FakeServer::start().await;
    let firewall = Firewall::start(server.address, Setup::default()).await;
    (server, firewall)
}

async fn closes_with(firewall: &Firewall, reason: CloseReason) {
    for _ in 0..100 {
        if firewall.seen.closed.lock().unwrap().last() == Some(&reason) {
            return;
        }
        sleep(Duration::from_millis(20)).await;
    }
    panic!("{:?}", firewall.seen.closed.lock().unwrap());
}

#[tokio::test]
async fn answers_of_any_size_come_through() {
    let (_server, firewall) = firewall().await;
    for tls in [None, Some(ChannelBinding::Prefer)] {
        let client = connect(&firewall, CLIENT, TOKEN, tls).await.unwrap();
        for size in [0, 1, 8_000, 8_200, 33_000, 65_536, 70_000, 9_000_000] {
            let rows = client.simple_query(&format!("echo {size}")).await.unwrap();
            assert_eq!(rows.len(), 3, "{size}");
        }
        drop(client);
        closes_with(&firewall, CloseReason::Client).await;
    }
}

#[tokio::test]
async fn many_queries_in_flight_keep_their_order() {
    let (_server, firewall) = firewall().await;
    let client = connect(&firewall, CLIENT, TOKEN, Some(ChannelBinding::Prefer)).await.unwrap();
    let texts: Vec<String> = (0..200).map(|i| format!("echo {}", i * 37)).collect();
    let all = texts.iter().map(|text| ask(&client, text));
    for answer in futures_join(all).await {
        answer.unwrap();
    }
}

/// All at once; pipelined by the driver.
async fn futures_join<T>(futures: impl Iterator<Item = impl Future<Output = T>>) -> Vec<T> {
    let mut pinned: Vec<_> = futures.map(Box::pin).collect();
    let mut done: Vec<Option<T>> = pinned.iter().map(|_| None).collect();
    std::future::poll_fn(|cx| {
        let mut waiting = false;
        for (future, slot) in pinned.iter_mut().zip(&mut done) {
            if slot.is_none() {
                match future.as_mut().poll(cx) {
                    std::task::Poll::Ready(value) => *slot = Some(value),
                    std::task::Poll::Pending => waiting = true,
                }
            }
        }
        if waiting { std::task::Poll::Pending } else { std::task::Poll::Ready(()) }
    })
    .await;
    done.into_iter().flatten().collect()
}

#[tokio::test]
async fn a_revoked_token_ends_its_connections_at_once() {
    let (_server, firewall) = firewall().await;
    for tls in [None, Some(ChannelBinding::Prefer)] {
        let client = connect(&firewall, CLIENT, TOKEN, tls).await.unwrap();
        let hanging = tokio::spawn(async move { ask(&client, "hang").await });
        sleep(Duration::from_millis(100)).await;
        assert_eq!(firewall.shared.sessions.revoke("otherkid"), 0);
        assert_eq!(firewall.shared.sessions.revoke(KID), 1);
        let error = timeout(Duration::from_secs(1), hanging).await.unwrap().unwrap().unwrap_err();
        assert!(error.as_db_error().unwrap().code().code().starts_with("28"), "{error}");
        closes_with(&firewall, CloseReason::Revoked).await;
        firewall.seen.closed.lock().unwrap().clear();
        assert!(firewall.shared.sessions.is_empty());
    }
}

#[tokio::test]
async fn a_client_that_left_the_classification_is_ended() {
    let (_server, firewall) = firewall().await;
    let client = connect(&firewall, CLIENT, TOKEN, None).await.unwrap();
    firewall.shared.changed();
    ask(&client, "still there").await.unwrap();
    firewall.alive.store(false, Ordering::Relaxed);
    firewall.shared.changed();
    assert!(ask(&client, "gone").await.is_err());
    closes_with(&firewall, CloseReason::Revoked).await;
}

#[tokio::test]
async fn a_server_that_dies_is_an_error_to_the_client() {
    let (_server, firewall) = firewall().await;
    for tls in [None, Some(ChannelBinding::Prefer)] {
        let client = connect(&firewall, CLIENT, TOKEN, tls).await.unwrap();
        let error = ask(&client, "die").await.unwrap_err();
        assert_eq!(error.as_db_error().unwrap().code().code(), "08006");
        closes_with(&firewall, CloseReason::Upstream).await;
    }
}

#[tokio::test]
async fn draining_ends_the_idle_at_once_and_the_busy_after_the_grace() {
    let (_server, firewall) = firewall().await;
    let idle = connect(&firewall, CLIENT, TOKEN, None).await.unwrap();
    let busy = connect(&firewall, CLIENT, TOKEN, None).await.unwrap();
    let hanging = tokio::spawn(async move { ask(&busy, "hang").await });
    sleep(Duration::from_millis(100)).await;
    let address = firewall.address;
    timeout(Duration::from_secs(3), firewall.stop()).await.unwrap();
    assert!(idle.is_closed() || ask(&idle, "x").await.is_err());
    let error = hanging.await.unwrap().unwrap_err();
    assert_eq!(error.as_db_error().unwrap().code().code(), "57P01");
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn a_cancel_request_opens_only_with_its_key() {
    let (server, firewall) = firewall().await;
    let client = connect(&firewall, CLIENT, TOKEN, None).await.unwrap();
    client.cancel_token().cancel_query(tokio_postgres::NoTls).await.unwrap();
    for _ in 0..100 {
        if !server.cancelled.lock().unwrap().is_empty() {
            break;
        }
        sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(*server.cancelled.lock().unwrap(), [(SERVER_PID, SERVER_SECRET.to_vec())]);
    for secret in [&[0, 0, 0, 0][..], &[7; 32], SERVER_SECRET] {
        for pid in [1, 2, SERVER_PID, -1] {
            let mut tcp = TcpStream::connect(firewall.address).await.unwrap();
            let mut out = Vec::new();
            encode::cancel(&mut out, pid, secret);
            tcp.write_all(&out).await.unwrap();
            let mut rest = Vec::new();
            tcp.read_to_end(&mut rest).await.unwrap();
            assert!(rest.is_empty());
        }
    }
    assert_eq!(server.cancelled.lock().unwrap().len(), 1);
    assert!(firewall.seen.cancels.lock().unwrap()[0]);
    // Its connection over, the key opens nothing.
    let token = client.cancel_token();
    drop(client);
    closes_with(&firewall, CloseReason::Client).await;
    token.cancel_query(tokio_postgres::NoTls).await.unwrap();
    sleep(Duration::from_millis(100)).await;
    assert_eq!(server.cancelled.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn a_client_that_does_not_read_is_not_buffered_for() {
    let (_server, firewall) = firewall().await;
    let mut slow = raw_session(&firewall).await;
    let mut query = Vec::new();
    encode::query(&mut query, b"echo 200000000");
    slow.write_all(&query).await.unwrap();
    sleep(Duration::from_millis(500)).await;
    let mut got = 0_usize;
    let mut buf = vec![0; 1 << 20];
    while got < 200_000_000 {
        got += timeout(Duration::from_secs(5), slow.read(&mut buf)).await.unwrap().unwrap();
    }
    // The server of this test is in this process: its own answer is the one copy there may be.
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let peak = status.lines().find(|l| l.starts_with("VmHWM")).unwrap();
    let kb: usize = peak.split_whitespace().nth(1).unwrap().parse().unwrap();
    assert!(kb < 700_000, "{peak}");
}

/// A logged-in plain socket.
async fn raw_session(firewall: &Firewall) -> TcpStream {
    use postgres_protocol::authentication::sasl::{ChannelBinding, ScramSha256};
    let mut tcp = TcpStream::connect(firewall.address).await.unwrap();
    let mut out = Vec::new();
    encode::startup(&mut out, 3, 0, [(&b"user"[..], CLIENT.as_bytes()), (b"database", b"bank")]);
    tcp.write_all(&out).await.unwrap();
    crate::fake::read_message(&mut tcp).await.unwrap();
    let mut scram = ScramSha256::new(TOKEN.as_bytes(), ChannelBinding::unsupported());
    out.clear();
    encode::sasl_initial_response(&mut out, b"SCRAM-SHA-256", Some(scram.message()));
    tcp.write_all(&out).await.unwrap();
    let challenge = crate::fake::read_message(&mut tcp).await.unwrap().1;
    scram.update(&challenge[4..]).unwrap();
    out.clear();
    encode::sasl_response(&mut out, scram.message());
    tcp.write_all(&out).await.unwrap();
    while crate::fake::read_message(&mut tcp).await.unwrap().0 != b'Z' {}
    tcp
}

#[tokio::test]
async fn half_a_client_still_gets_its_answer() {
    let (_server, firewall) = firewall().await;
    let mut client = raw_session(&firewall).await;
    let mut query = Vec::new();
    encode::query(&mut query, b"echo 100000");
    client.write_all(&query).await.unwrap();
    client.shutdown().await.unwrap();
    let mut answer = Vec::new();
    timeout(Duration::from_secs(3), client.read_to_end(&mut answer)).await.unwrap().unwrap();
    assert!(answer.len() > 100_000 && answer.ends_with(b"Z\0\0\0\x05I"));
    closes_with(&firewall, CloseReason::Client).await;
}
