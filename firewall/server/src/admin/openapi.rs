//! The API's own description.

/// Kept by hand beside the routes.
pub const DOCUMENT: &str = include_str!("openapi.json");

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]

    #[test]
    fn every_route_is_described_and_nothing_else() {
        let document: serde_json::Value = serde_json::from_str(super::DOCUMENT).unwrap();
        let mut described: Vec<&str> = document["paths"].as_object().unwrap().keys().map(String::as_str).collect();
        let routes = super::super::routes::open_routes().into_iter().chain(super::super::routes::guarded_routes());
        let mut served: Vec<&str> = routes.map(|(path, _)| path).collect();
        described.sort_unstable();
        served.sort_unstable();
        assert_eq!(described, served);
        assert_eq!(document["info"]["version"], env!("CARGO_PKG_VERSION"));
    }
}
