//! A throwaway PostgreSQL: its own directory and port, never root.

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use ringfence_server::config::url::PgUrl;
use ringfence_server::pg;

/// Stopped, and its directory removed, when dropped.
pub(crate) struct Cluster {
    dir: tempfile::TempDir,
    port: u16,
    server: Child,
}

impl Cluster {
    /// Database `control` belongs to the login `control`; the superuser is `postgres`.
    pub(crate) fn start() -> Self {
        let bin = bin();
        let dir = tempfile::tempdir().unwrap();
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        let data = dir.path().join("data");
        std::fs::create_dir(&data).unwrap();
        let account = account();
        if let Some((uid, gid)) = account {
            std::os::unix::fs::chown(&data, Some(uid), Some(gid)).unwrap();
        }
        let run = |program: &str| {
            let mut command = Command::new(bin.join(program));
            command.current_dir(dir.path()).stdout(Stdio::null()).stderr(Stdio::null()).stdin(Stdio::null());
            if let Some((uid, gid)) = account {
                command.uid(uid).gid(gid);
            }
            command
        };
        let made = run("initdb")
            .arg("-D")
            .arg(&data)
            .args(["-U", "postgres", "-A", "trust", "-N", "--locale=C.UTF-8", "-E", "UTF8"])
            .status()
            .unwrap();
        assert!(made.success(), "initdb");
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let server = run("postgres")
            .arg("-D")
            .arg(&data)
            .args(["-p", &port.to_string(), "-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories="])
            .args(["-c", "fsync=off", "-c", "shared_buffers=16MB"])
            .spawn()
            .unwrap();
        let cluster = Self { dir, port, server };
        cluster.wait();
        cluster
    }

    fn wait(&self) {
        let end = Instant::now() + Duration::from_secs(60);
        let url = self.url("postgres", "postgres");
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(async {
                    loop {
                        if let Ok((client, _notes)) = pg::connect(&url, "postgres").await {
                            client.batch_execute("CREATE ROLE control LOGIN").await.unwrap();
                            client.batch_execute("CREATE DATABASE control OWNER control").await.unwrap();
                            return;
                        }
                        assert!(Instant::now() < end, "PostgreSQL did not start in {}", self.dir.path().display());
                        tokio::time::sleep(Duration::from_millis(50)).await;
                    }
                });
            });
        });
    }

    pub(crate) fn url(&self, user: &str, database: &str) -> PgUrl {
        PgUrl::parse(&format!("postgresql://{user}@127.0.0.1:{}/{database}?sslmode=disable", self.port)).unwrap()
    }

    /// As the superuser, on a connection of its own.
    pub(crate) async fn psql(&self, database: &str, sql: &str) {
        let (client, _notes) = pg::connect(&self.url("postgres", database), database).await.unwrap();
        client.batch_execute(sql).await.unwrap_or_else(|e| panic!("{sql}: {}", pg::Explained(e)));
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // SIGKILL is fine: the directory goes too.
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

fn bin() -> PathBuf {
    let on_path = std::env::var_os("PATH")
        .into_iter()
        .flat_map(|path| std::env::split_paths(&path).collect::<Vec<_>>())
        .find(|dir| dir.join("initdb").exists() && dir.join("postgres").exists());
    on_path
        .or_else(|| {
            let mut found: Vec<PathBuf> = std::fs::read_dir("/usr/lib/postgresql")
                .ok()?
                .filter_map(|entry| Some(entry.ok()?.path().join("bin")))
                .filter(|dir| dir.join("initdb").exists())
                .collect();
            found.sort();
            found.pop()
        })
        .expect("PostgreSQL is not installed: scripts/test installs it")
}

/// The account to drop to, if this is root.
fn account() -> Option<(u32, u32)> {
    let own = std::fs::metadata("/proc/self").ok()?;
    if std::os::unix::fs::MetadataExt::uid(&own) != 0 {
        return None;
    }
    let passwd = std::fs::read_to_string("/etc/passwd").ok()?;
    ["postgres", "nobody"].into_iter().find_map(|name| {
        let line = passwd.lines().find(|l| l.starts_with(&format!("{name}:")))?;
        let mut fields = line.split(':').skip(2);
        Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
    })
}
