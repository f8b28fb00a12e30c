//! Tenants, their keys, and the file that says so.

use super::app::{Answer, TestApp};
use blueprint_decoder::identity::NewKey;
use serde_json::Value;
use std::{
    fmt::Write,
    path::{Path, PathBuf},
};
use tempfile::TempDir;

/// A key that was just made.
pub(crate) struct Key(NewKey);

impl Key {
    pub(crate) fn new() -> Self {
        Self(NewKey::make().expect("random bytes"))
    }

    /// As its owner shows it.
    pub(crate) fn text(&self) -> &str {
        &self.0.text
    }

    pub(crate) fn id(&self) -> &str {
        &self.0.id
    }

    /// What stands about it in the file.
    pub(crate) fn entry(&self, role: &str) -> String {
        format!("id = \"{}\"\nsha256 = \"{}\"\nrole = \"{role}\"\n", self.0.id, self.0.hash)
    }
}

/// What a tenants file says, as it is put together.
#[derive(Default)]
pub(crate) struct Roster(String);

impl Roster {
    /// Keys of the whole file, before any tenant.
    pub(crate) fn with(mut self, text: &str) -> Self {
        self.0 = format!("{text}\n{}", self.0);
        self
    }

    /// A tenant with more lines about it and its keys.
    pub(crate) fn tenant(mut self, name: &str, more: &str, keys: &[(&Key, &str)]) -> Self {
        let _ = write!(self.0, "[[tenant]]\nname = \"{name}\"\n{more}\n");
        for (key, role) in keys {
            let _ = write!(self.0, "[[tenant.key]]\n{}", key.entry(role));
        }
        self
    }

    pub(crate) fn staff(mut self, key: &Key, role: &str) -> Self {
        let _ = write!(self.0, "[[staff]]\n{}", key.entry(role));
        self
    }

    pub(crate) fn text(&self) -> &str {
        &self.0
    }
}

/// A tenants file in a folder of its own.
pub(crate) struct TenantsFile {
    folder: TempDir,
}

impl TenantsFile {
    pub(crate) fn new(roster: &Roster) -> Self {
        let file = Self { folder: tempfile::tempdir().expect("a folder") };
        file.write(roster.text());
        file
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().join("tenants.toml")
    }

    /// Writes it in place.
    pub(crate) fn write(&self, text: &str) {
        std::fs::write(self.path(), text).expect("written");
    }

    /// What makes a service heed it, with a listener for the operator.
    pub(crate) fn config(&self) -> String {
        let path = self.path();
        format!(
            "[server]\nadmin_bind = \"127.0.0.1:0\"\n\
             [auth]\nmode = \"required\"\ntenants_file = {path:?}\n"
        )
    }
}

impl TestApp {
    /// A `POST /decode` in JSON, with a key.
    pub(crate) async fn decode_as(&self, key: &Key, body: &Value) -> Answer {
        Answer::of(self.asking(body).bearer_auth(key.text())).await
    }

    /// A request to the operator's listener, with a key.
    pub(crate) async fn admin_as(&self, key: &Key, method: &str, path: &str) -> Answer {
        let admin = self.admin.expect("an admin listener");
        let method = method.parse().expect("a method");
        let request = self.client.request(method, format!("http://{admin}{path}"));
        Answer::of(request.bearer_auth(key.text())).await
    }
}
