//! Docker configs out of pull secrets.

use podrefresh::credentials::Config;

/// A `config.json`, and the same bytes as a `.dockercfg`: no secret is shown.
pub fn docker_config(data: &[u8]) {
    for config in [Config::from_config_json(data), Config::from_dockercfg(data)] {
        match config {
            Ok(config) => {
                for broken in &config.broken {
                    let _ = broken.to_string();
                }
                let shown = format!("{config:?}");
                // Whoever names a password so wants to see it.
                assert!(!shown.contains("do-not-show-me"), "{shown}");
            }
            Err(error) => drop(error.to_string()),
        }
    }
}
