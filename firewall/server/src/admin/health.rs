//! Whether the server behind can be reached, asked at most once a second.

use std::time::{Duration, Instant};

use tokio::net::{TcpStream, UnixStream};
use tokio::sync::Mutex;

use crate::config::url::PgUrl;

const FRESH: Duration = Duration::from_secs(1);
const LIMIT: Duration = Duration::from_secs(1);

/// The upstream's address, and the last answer.
#[derive(Debug)]
pub struct Upstream {
    host: String,
    port: u16,
    last: Mutex<Option<(Instant, bool)>>,
}

impl Upstream {
    pub fn new(url: &PgUrl) -> Self {
        Self { host: url.host.clone(), port: url.port, last: Mutex::new(None) }
    }

    /// Connects and hangs up (the server takes no note of that).
    pub async fn reachable(&self) -> bool {
        let mut last = self.last.lock().await;
        if let Some((asked, answer)) = *last
            && asked.elapsed() < FRESH
        {
            return answer;
        }
        let answer = tokio::time::timeout(LIMIT, self.connect()).await.unwrap_or(false);
        *last = Some((Instant::now(), answer));
        answer
    }

    async fn connect(&self) -> bool {
        if self.host.starts_with('/') {
            UnixStream::connect(format!("{}/.s.PGSQL.{}", self.host, self.port)).await.is_ok()
        } else {
            TcpStream::connect((self.host.as_str(), self.port)).await.is_ok()
        }
    }
}
