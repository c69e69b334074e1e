//! tokio-postgres through the firewall: prints what it sees of public.users as JSON, for the Python tests to judge.
//!
//! `tokio-postgres-check URL [CA]`: with a CA the connection is TLS, verified.

#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::error::Error;
use std::process::ExitCode;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde_json::{Value, json};
use tokio_postgres::{Client, NoTls, Row, SimpleQueryMessage};

const COLUMNS: &str = "id, credit_card, currency, email, is_active, country, num_logins, password_hash, username";

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(seen) => {
            println!("{seen}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("tokio-postgres-check: {error:?}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<Value, Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let url = args.next().ok_or("usage: tokio-postgres-check URL [CA]")?;
    let client = match args.next() {
        Some(ca) => with_tls(&url, &ca).await?,
        None => {
            let (client, connection) = tokio_postgres::connect(&url, NoTls).await?;
            tokio::spawn(connection);
            client
        }
    };
    check(client).await
}

async fn with_tls(url: &str, ca: &str) -> Result<Client, Box<dyn Error>> {
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(ca)? {
        roots.add(certificate?)?;
    }
    let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let (client, connection) =
        tokio_postgres::connect(url, tokio_postgres_rustls::MakeRustlsConnect::new(config)).await?;
    tokio::spawn(connection);
    Ok(client)
}

async fn check(mut client: Client) -> Result<Value, Box<dyn Error>> {
    let by_id = client.prepare(&format!("SELECT {COLUMNS} FROM users WHERE id = $1")).await?;
    // Sent together: tokio-postgres pipelines what is polled together.
    let (a, b, c) = tokio::try_join!(
        client.query_one(&by_id, &[&0i32]),
        client.query_one(&by_id, &[&7i32]),
        client.query_one(&by_id, &[&100i32])
    )?;
    let prepared = [values(&a)?, values(&b)?, values(&c)?];

    let simple: Vec<Value> = client
        .simple_query(&format!("SELECT {COLUMNS} FROM users WHERE id IN (0, 7, 100) ORDER BY id"))
        .await?
        .into_iter()
        .filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some((0..row.len()).map(|i| json!(row.get(i))).collect()),
            _ => None,
        })
        .collect();

    let refusal =
        match client.query("SELECT id FROM users WHERE credit_card = $1 AND password_hash = $1", &[&"x"]).await {
            Ok(_) => Value::Null,
            Err(error) => {
                let database = error.as_db_error().ok_or("no database error")?;
                json!({ "code": database.code().code(), "hint": database.hint(), "message": database.message() })
            }
        };
    let after: i32 = client.query_one("SELECT 40 + 2", &[]).await?.get(0);

    let transaction = client.transaction().await?;
    let statement =
        transaction.prepare(&format!("SELECT {COLUMNS} FROM users WHERE id IN (0, 7, 100) ORDER BY id")).await?;
    let portal = transaction.bind(&statement, &[]).await?;
    let mut portions = Vec::new();
    for _ in 0..3 {
        for row in transaction.query_portal(&portal, 1).await? {
            portions.push(values(&row)?);
        }
    }
    transaction.rollback().await?;
    Ok(json!({ "prepared": prepared, "simple": simple, "portal": portions, "refusal": refusal, "after": after }))
}

/// A row of typed (binary) values, as psql would print them.
fn values(row: &Row) -> Result<Value, tokio_postgres::Error> {
    let flag = |value: Option<bool>| value.map(|v| if v { "t" } else { "f" });
    let number = |value: Option<i32>| value.map(|v| v.to_string());
    Ok(json!([
        number(row.try_get(0)?),
        row.try_get::<_, Option<String>>(1)?,
        row.try_get::<_, Option<String>>(2)?,
        row.try_get::<_, Option<String>>(3)?,
        flag(row.try_get(4)?),
        row.try_get::<_, Option<String>>(5)?,
        number(row.try_get(6)?),
        row.try_get::<_, Option<String>>(7)?,
        row.try_get::<_, Option<String>>(8)?,
    ]))
}
