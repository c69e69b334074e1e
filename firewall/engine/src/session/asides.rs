//! Messages that may come at any time.

use ringfence_wire::backend as be;
use ringfence_wire::encode;

use super::Session;
use super::backend::{Fate, broken};
use crate::rewrite::{self};

impl Session {
    pub(super) fn must_rebuild(&self, diagnostic: &be::Diagnostic<'_>) -> bool {
        self.restricted()
            && !rewrite::is_of_the_text(diagnostic)
            && (self.tainted.is_some()
                || rewrite::names_labelled_relation(diagnostic, &self.config.world.catalog, &self.config.client))
    }

    pub(super) fn notice(&mut self, body: &[u8], own: &mut Vec<u8>) -> Result<Fate, String> {
        let diagnostic = be::Diagnostic::parse(body).map_err(broken)?;
        if !self.must_rebuild(&diagnostic) {
            return Ok(Fate::Pass);
        }
        rewrite::rebuilt(own, &diagnostic, &self.config.world.catalog, false);
        Ok(Fate::Replaced)
    }

    pub(super) fn notification(&mut self, body: &[u8], own: &mut Vec<u8>) -> Result<Fate, String> {
        let notification = be::Notification::parse(body).map_err(broken)?;
        let listed = || {
            let channels = &self.config.client.notification_channels;
            channels.iter().any(|channel| channel.as_bytes() == notification.channel)
        };
        if !self.restricted() || notification.payload.is_empty() || listed() {
            return Ok(Fate::Pass);
        }
        encode::notification(own, notification.pid, notification.channel, b"");
        Ok(Fate::Replaced)
    }

    pub(super) fn parameter_status(&mut self, body: &[u8]) -> Result<Fate, String> {
        let status = be::ParameterStatus::parse(body).map_err(broken)?;
        match status.name {
            b"standard_conforming_strings" => self.settings.standard_strings = status.value == b"on",
            b"client_encoding" => self.settings.utf8 = status.value.eq_ignore_ascii_case(b"UTF8"),
            b"server_encoding" => self.settings.server_utf8 = status.value.eq_ignore_ascii_case(b"UTF8"),
            _ => {}
        }
        Ok(Fate::Pass)
    }
}
