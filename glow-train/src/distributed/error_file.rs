//! The file in which torchrun looks for a process's error.
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// Writes an error to the file that `TORCHELASTIC_ERROR_FILE` names, if it names one, in the form that
/// torchrun reads.
pub fn write(error: &str) {
    let Some(path) = std::env::var_os("TORCHELASTIC_ERROR_FILE").filter(|path| !path.is_empty()) else {
        return;
    };
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    if let Err(problem) = std::fs::write(Path::new(&path), json(error, seconds)) {
        eprintln!("warning: cannot write {} (TORCHELASTIC_ERROR_FILE): {problem}", path.display());
    }
}

fn json(error: &str, seconds: u64) -> String {
    serde_json::json!({
        "message": {
            "message": error,
            // torchrun shows this one to the user.
            "extraInfo": { "py_callstack": error, "timestamp": seconds.to_string() },
        },
    })
    .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_has_torchrun_s_form() {
        let value: serde_json::Value = serde_json::from_str(&json("a \"reason\"", 17)).unwrap();
        assert_eq!(value["message"]["message"], "a \"reason\"");
        assert_eq!(value["message"]["extraInfo"]["py_callstack"], "a \"reason\"");
        assert_eq!(value["message"]["extraInfo"]["timestamp"], "17");
    }
}
