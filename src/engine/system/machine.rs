//! The machine that a run is measured from.

use serde_json::{Map, Value};

/// What is known of this machine, by name: host, kernel, processor, cores.
pub fn machine() -> Map<String, Value> {
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    let host = nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok());
    let memory = std::fs::read_to_string("/proc/meminfo").ok();
    let all = [
        ("host", host.map(Value::from)),
        ("os", Some(std::env::consts::OS.into())),
        ("arch", Some(std::env::consts::ARCH.into())),
        ("kernel", first_line("/proc/sys/kernel/osrelease").map(Value::from)),
        (
            "cpu",
            std::fs::read_to_string("/proc/cpuinfo").ok().as_deref().and_then(cpu).map(Value::from),
        ),
        ("cpus", Some(cpus.into())),
        ("memory_bytes", memory.as_deref().and_then(total).map(Value::from)),
    ];
    all.into_iter().map(|(key, value)| (key.to_owned(), value.unwrap_or(Value::Null))).collect()
}

fn first_line(path: &str) -> Option<String> {
    let text = std::fs::read_to_string(path).ok()?;
    text.lines().next().map(|line| line.trim().to_owned()).filter(|line| !line.is_empty())
}

/// The name of the first processor in the text of `/proc/cpuinfo`.
fn cpu(text: &str) -> Option<String> {
    let line = text.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

/// The bytes of memory in the text of `/proc/meminfo`.
fn total(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1 << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_the_kernel() {
        let text =
            "processor\t: 0\nmodel name\t: Some CPU @ 2 GHz\nprocessor\t: 1\nmodel name\t: x";
        assert_eq!(cpu(text).as_deref(), Some("Some CPU @ 2 GHz"));
        assert_eq!(cpu("processor : 0\nBogoMIPS : 50"), None);
        assert_eq!(total("MemTotal:       2048 kB\nMemFree: 1 kB"), Some(2 << 20));
        assert_eq!(total("nothing"), None);
    }

    #[test]
    fn a_machine_has_cores() {
        assert!(machine()["cpus"].as_u64() > Some(0));
    }
}
