//! Where the cache and the hub are, as the environment says it to every tool.

use crate::error::{Error, Result};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The hub, its cache, and how to reach it.
#[derive(Clone)]
pub struct Hub {
    /// The folder that holds `models--org--name`.
    pub cache: PathBuf,
    /// URL of the hub; `None` for the public one.
    pub endpoint: Option<String>,
    /// Opens private and gated repositories.
    pub token: Option<String>,
    /// Use only what is in the cache.
    pub offline: bool,
    /// Pause after the first failure; each further one doubles it.
    pub first_pause: Duration,
    /// How long a server may be silent.
    pub silence: Duration,
}

/// The token stays out of logs.
impl std::fmt::Debug for Hub {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { cache, endpoint, offline, .. } = self;
        let hub = &mut f.debug_struct("Hub");
        hub.field("cache", cache).field("endpoint", endpoint).field("offline", offline).finish_non_exhaustive()
    }
}

impl Hub {
    /// A hub with this cache, and all else as it is without any settings.
    pub fn new(cache: impl Into<PathBuf>) -> Self {
        Self {
            cache: cache.into(),
            endpoint: None,
            token: None,
            offline: false,
            first_pause: Duration::from_secs(1),
            silence: Duration::from_secs(30),
        }
    }

    /// As the environment has it: `HF_HUB_CACHE`, `HF_HOME`, `HF_ENDPOINT`, `HF_TOKEN` (or the file that a login
    /// left), `HF_HUB_OFFLINE`.
    ///
    /// # Errors
    /// If one of them makes no sense.
    pub fn from_env() -> Result<Self> {
        Self::from_variables(|name| std::env::var_os(name), std::env::home_dir())
    }

    fn from_variables(variable: impl Fn(&str) -> Option<OsString>, user: Option<PathBuf>) -> Result<Self> {
        let path = |name: &str| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let text = |name: &str| match variable(name).map(OsString::into_string) {
            None => Ok(None),
            Some(Ok(value)) => Ok(Some(value.trim().to_owned()).filter(|value| !value.is_empty())),
            Some(Err(_)) => Err(Error::Usage(format!("{name} is not UTF-8"))),
        };
        let caches = || path("XDG_CACHE_HOME").or_else(|| Some(user.as_ref()?.join(".cache")));
        let home = path("HF_HOME").or_else(|| Some(caches()?.join("huggingface")));
        let cache = path("HF_HUB_CACHE").or_else(|| Some(home.as_ref()?.join("hub"))).ok_or_else(|| {
            Error::Usage("no home folder to keep models in; set HF_HOME to a folder for them".to_owned())
        })?;
        // Links in the cache are relative to it, errors name it: both want the whole path.
        let cache = std::path::absolute(&cache).map_err(|e| Error::io(&cache, "finding the folder", e))?;

        let token_file = path("HF_TOKEN_PATH").or_else(|| Some(home?.join("token")));
        let token = match text("HF_TOKEN")? {
            Some(token) => Some(token),
            None => token_file.as_deref().and_then(stored_token),
        };
        if token.iter().any(|token| !token.bytes().all(|byte| byte.is_ascii_graphic())) {
            return Err(Error::Usage("HF_TOKEN holds blanks or characters that no token has".to_owned()));
        }

        let endpoint = text("HF_ENDPOINT")?.map(|url| url.trim_end_matches('/').to_owned());
        if let Some(url) = endpoint.iter().find(|url| !is_endpoint(url)) {
            let what = format!("HF_ENDPOINT {url:?} is not the URL of a server, such as https://hub.example.org");
            return Err(Error::Usage(what));
        }
        let offline = text("HF_HUB_OFFLINE")?.is_some_and(|value| is_true(&value));
        Ok(Self { endpoint, token, offline, ..Self::new(cache) })
    }
}

/// The token that a login of another tool left; a file that cannot be read holds none.
fn stored_token(file: &Path) -> Option<String> {
    let token = std::fs::read_to_string(file).ok()?;
    Some(token.trim().to_owned()).filter(|token| !token.is_empty())
}

fn is_endpoint(url: &str) -> bool {
    let host = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
    host.is_some_and(|host| !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_graphic()))
        && !url.contains(['?', '#', '@'])
}

fn is_true(value: &str) -> bool {
    ["1", "on", "yes", "true"].contains(&value.to_ascii_lowercase().as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hub(variables: &[(&str, &str)]) -> Result<Hub> {
        let variable = |name: &str| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| value.into());
        Hub::from_variables(variable, Some("/home/me".into()))
    }

    #[test]
    #[cfg(unix)]
    fn caches() {
        let cache = |variables: &[(&str, &str)]| hub(variables).unwrap().cache;
        assert_eq!(cache(&[]), Path::new("/home/me/.cache/huggingface/hub"));
        assert_eq!(cache(&[("XDG_CACHE_HOME", "/x")]), Path::new("/x/huggingface/hub"));
        assert_eq!(cache(&[("HF_HOME", "/h"), ("XDG_CACHE_HOME", "/x")]), Path::new("/h/hub"));
        assert_eq!(cache(&[("HF_HUB_CACHE", "/c"), ("HF_HOME", "/h")]), Path::new("/c"));
        assert_eq!(cache(&[("HF_HUB_CACHE", ""), ("HF_HOME", "")]), Path::new("/home/me/.cache/huggingface/hub"));
        assert!(cache(&[("HF_HOME", "h")]).is_absolute());
        let homeless = Hub::from_variables(|_| None, None).unwrap_err().to_string();
        assert!(homeless.contains("set HF_HOME"), "{homeless}");
    }

    #[test]
    fn tokens() {
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path().to_str().unwrap();
        let token = |variables: &[(&str, &str)]| hub(variables).map(|hub| hub.token);
        assert_eq!(token(&[("HF_HOME", home)]).unwrap(), None);
        std::fs::write(folder.path().join("token"), "hf_stored\n").unwrap();
        assert_eq!(token(&[("HF_HOME", home)]).unwrap().as_deref(), Some("hf_stored"));
        // Wherever the cache is, the login is at home.
        let elsewhere = [("HF_HOME", home), ("HF_HUB_CACHE", "/c")];
        assert_eq!(token(&elsewhere).unwrap().as_deref(), Some("hf_stored"));
        assert_eq!(token(&[("HF_HOME", home), ("HF_TOKEN", " hf_mine\n")]).unwrap().as_deref(), Some("hf_mine"));
        for bad in ["a b", "a\r\nb", "ä"] {
            let error = token(&[("HF_TOKEN", bad)]).unwrap_err().to_string();
            assert!(error.starts_with("HF_TOKEN") && !error.contains(bad), "{error}");
        }
        let shown = format!("{:?}", hub(&[("HF_TOKEN", "hf_secret")]).unwrap());
        assert!(!shown.contains("secret"), "{shown}");
    }

    #[test]
    fn endpoints() {
        let endpoint = |url| hub(&[("HF_ENDPOINT", url)]).map(|hub| hub.endpoint);
        assert_eq!(endpoint("http://127.0.0.1:8000/").unwrap().as_deref(), Some("http://127.0.0.1:8000"));
        assert_eq!(
            endpoint("https://mirror.example.org/hf").unwrap().as_deref(),
            Some("https://mirror.example.org/hf")
        );
        assert_eq!(endpoint("").unwrap(), None);
        for bad in ["mirror.example.org", "ftp://a", "https://", "http://a b", "https://me:pw@a", "http://a?b"] {
            assert!(endpoint(bad).unwrap_err().to_string().starts_with("HF_ENDPOINT"), "{bad}");
        }
    }

    #[test]
    fn offline() {
        let offline = |value| hub(&[("HF_HUB_OFFLINE", value)]).unwrap().offline;
        assert!(["1", "true", "YES", "on"].into_iter().all(offline));
        assert!(!["", "0", "false", "no"].into_iter().any(offline));
    }
}
