//! `ringfence install-trigger`: event triggers that tell the firewall of DDL the moment it is committed.
//!
//! They only announce; what changed is read from the catalog. Without them the firewall looks every `--catalog-poll`.

use std::process::ExitCode;

use crate::cli::{InstallTriggerArgs, complain, say};
use crate::config::{ConfigError, Settings, upstream_url};
use crate::pg;

/// Where the triggers announce, and the firewall listens.
pub(crate) const CHANNEL: &str = "ringfence_catalog";

/// Everything in a schema of its own: the control schema may be in the same database, and belongs to its own login.
/// Made anew each time, so that nothing in it is anybody else's. Temporary relations are the sessions' own affair. A command that lists nothing counts.
const INSTALL: &str = "BEGIN; \
    SET LOCAL search_path = pg_catalog; SET LOCAL lock_timeout = '10s'; \
    DROP EVENT TRIGGER IF EXISTS ringfence_changed; \
    DROP EVENT TRIGGER IF EXISTS ringfence_dropped; \
    DROP SCHEMA IF EXISTS ringfence_events CASCADE; \
    CREATE SCHEMA ringfence_events; \
    REVOKE ALL ON SCHEMA ringfence_events FROM PUBLIC; \
    CREATE FUNCTION ringfence_events.changed() RETURNS event_trigger LANGUAGE plpgsql SET search_path = pg_catalog AS $$ \
    BEGIN \
        IF tg_tag NOT LIKE 'DROP %' AND (SELECT bool_and(coalesce(schema_name = 'pg_temp', false)) FROM pg_event_trigger_ddl_commands()) IS NOT TRUE THEN \
            PERFORM pg_notify('ringfence_catalog', ''); \
        END IF; \
    END $$; \
    CREATE FUNCTION ringfence_events.dropped() RETURNS event_trigger LANGUAGE plpgsql SET search_path = pg_catalog AS $$ \
    BEGIN \
        IF (SELECT bool_and(is_temporary) FROM pg_event_trigger_dropped_objects()) IS NOT TRUE THEN \
            PERFORM pg_notify('ringfence_catalog', ''); \
        END IF; \
    END $$; \
    REVOKE ALL ON FUNCTION ringfence_events.changed(), ringfence_events.dropped() FROM PUBLIC; \
    CREATE EVENT TRIGGER ringfence_changed ON ddl_command_end EXECUTE FUNCTION ringfence_events.changed(); \
    CREATE EVENT TRIGGER ringfence_dropped ON sql_drop EXECUTE FUNCTION ringfence_events.dropped(); \
    ALTER EVENT TRIGGER ringfence_changed ENABLE ALWAYS; \
    ALTER EVENT TRIGGER ringfence_dropped ENABLE ALWAYS; \
    COMMIT";

const REMOVE: &str = "BEGIN; \
    SET LOCAL search_path = pg_catalog; SET LOCAL lock_timeout = '10s'; \
    DROP EVENT TRIGGER IF EXISTS ringfence_changed; \
    DROP EVENT TRIGGER IF EXISTS ringfence_dropped; \
    DROP SCHEMA IF EXISTS ringfence_events CASCADE; \
    COMMIT";

/// 0: done; 1: the database refused or could not be reached; 2: usage.
pub(crate) fn run(args: &InstallTriggerArgs) -> ExitCode {
    let settings = Settings {
        upstream: args.upstream.clone(),
        upstream_password_file: args.upstream_password_file.clone(),
        ..Settings::default()
    };
    let url = settings.with_environment().and_then(|settings| upstream_url(&settings));
    let url = match url {
        Ok(url) => url,
        Err(error) => return complain(&error, 2),
    };
    let Some(database) = url.database.clone() else {
        let missing = ConfigError::Missing(
            "the database in --upstream",
            "write --upstream postgresql://USER:PASSWORD@HOST:PORT/DATABASE",
        );
        return complain(&missing, 2);
    };
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return complain(&error, 1),
    };
    let done: Result<(), Box<dyn std::error::Error>> = runtime.block_on(async {
        let (client, _notes) = pg::connect(&url, &database).await?;
        let sql = if args.remove { REMOVE } else { INSTALL };
        client.batch_execute(sql).await.map_err(pg::Explained)?;
        Ok(())
    });
    match done {
        Ok(()) if args.remove => say(&format!("removed the event triggers from database {database}")),
        Ok(()) => say(&format!("installed event triggers in database {database}: DDL is announced as it commits")),
        Err(error) => return complain(&*error, 1),
    }
    ExitCode::SUCCESS
}
