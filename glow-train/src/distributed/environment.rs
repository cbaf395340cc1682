//! What a launcher tells a process: the environment variables of torchrun.
//!
//! | variable | is | if unset |
//! | --- | --- | --- |
//! | `RANK` | this process's number, from 0 | training in one process |
//! | `WORLD_SIZE` | how many processes there are | training in one process |
//! | `MASTER_ADDR`, `MASTER_PORT` | where rank 0 is found | an error |
//! | `LOCAL_RANK` | this process's number on its host; its CUDA device | 0 |
//! | `LOCAL_WORLD_SIZE` | processes on this host | unknown |
//! | `TORCHELASTIC_USE_AGENT_STORE` | `True` where the launcher serves the store, not rank 0 | rank 0 does |
//! | `TORCHELASTIC_RESTART_COUNT` | how often the launcher has started the processes again | 0 |
use super::error::DistributedError;
use std::str::FromStr;

/// A process's place among all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Environment {
    /// This process's number, from 0.
    pub rank: usize,
    /// Processes in all.
    pub world_size: usize,
    /// This process's number on its host.
    pub local_rank: usize,
    /// Processes on this host, where the launcher says so.
    pub local_world_size: Option<usize>,
    /// The host of rank 0.
    pub master_address: String,
    /// The port of the store.
    pub master_port: u16,
    /// Whether the launcher serves the store; otherwise rank 0 does.
    pub agent_serves: bool,
    /// How often the launcher has started the processes again.
    pub restarts: usize,
}

impl Environment {
    /// As the environment says; `None` where no launcher has set it.
    ///
    /// # Errors
    /// A variable is missing or is not what it should be.
    pub fn read() -> Result<Option<Self>, DistributedError> {
        Self::from(|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
    }

    fn from(get: impl Fn(&str) -> Option<String>) -> Result<Option<Self>, DistributedError> {
        if get("RANK").is_none() && get("WORLD_SIZE").is_none() {
            return Ok(None);
        }
        let required =
            |variable| number(&get, variable)?.ok_or_else(|| problem(variable, "is not set".into()));
        let (rank, world_size): (usize, usize) = (required("RANK")?, required("WORLD_SIZE")?);
        if rank >= world_size {
            return Err(problem(
                "RANK",
                format!("is {rank}, and WORLD_SIZE {world_size}: ranks count from 0"),
            ));
        }
        let local_rank = number(&get, "LOCAL_RANK")?.unwrap_or(0);
        let local_world_size = number(&get, "LOCAL_WORLD_SIZE")?;
        if local_world_size.is_some_and(|local| local > world_size || local_rank >= local) {
            let local = local_world_size.unwrap_or_default();
            return Err(problem(
                "LOCAL_WORLD_SIZE",
                format!("is {local}, LOCAL_RANK {local_rank} and WORLD_SIZE {world_size}"),
            ));
        }
        // One process needs to find no other.
        let alone = world_size == 1;
        let master_address = match get("MASTER_ADDR") {
            Some(address) => address,
            None if alone => "localhost".into(),
            None => return Err(problem("MASTER_ADDR", "is not set".into())),
        };
        let master_port = match number(&get, "MASTER_PORT")? {
            Some(port) => port,
            None if alone => 0,
            None => return Err(problem("MASTER_PORT", "is not set".into())),
        };
        Ok(Some(Self {
            rank,
            world_size,
            local_rank,
            local_world_size,
            master_address,
            master_port,
            agent_serves: get("TORCHELASTIC_USE_AGENT_STORE").as_deref() == Some("True"),
            restarts: number(&get, "TORCHELASTIC_RESTART_COUNT")?.unwrap_or(0),
        }))
    }

    /// Whether this process serves the store.
    pub fn serves(&self) -> bool {
        self.rank == 0 && !self.agent_serves
    }
}

fn number<T: FromStr>(
    get: impl Fn(&str) -> Option<String>,
    variable: &'static str,
) -> Result<Option<T>, DistributedError> {
    get(variable)
        .map(|text| text.trim().parse().map_err(|_| problem(variable, format!("is {text:?}, not a number"))))
        .transpose()
}

fn problem(variable: &'static str, problem: String) -> DistributedError {
    DistributedError::Environment { variable, problem }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(text: &str) -> Result<Option<Environment>, DistributedError> {
        let variables: Vec<(&str, &str)> =
            text.split_whitespace().map(|pair| pair.split_once('=').unwrap()).collect();
        Environment::from(|name| {
            variables.iter().find(|(key, _)| *key == name).map(|(_, value)| value.to_string())
        })
    }

    #[test]
    fn launchers_are_understood() {
        assert_eq!(environment("LOCAL_RANK=1 MASTER_PORT=1").unwrap(), None);
        let torchrun = environment(
            "RANK=3 LOCAL_RANK=1 WORLD_SIZE=4 LOCAL_WORLD_SIZE=2 MASTER_ADDR=a MASTER_PORT=29500 \
             TORCHELASTIC_USE_AGENT_STORE=True TORCHELASTIC_RESTART_COUNT=2",
        );
        let torchrun = torchrun.unwrap().unwrap();
        assert_eq!((torchrun.rank, torchrun.local_rank, torchrun.world_size), (3, 1, 4));
        assert_eq!((torchrun.local_world_size, torchrun.restarts), (Some(2), 2));
        assert!(!torchrun.serves());
        let kubernetes = environment("RANK=0 WORLD_SIZE=2 MASTER_ADDR=a MASTER_PORT=23456").unwrap().unwrap();
        assert_eq!((kubernetes.local_rank, kubernetes.local_world_size), (0, None));
        assert!(kubernetes.serves());
        assert_eq!(environment("RANK=0 WORLD_SIZE=1").unwrap().unwrap().world_size, 1);
    }

    #[test]
    fn variables_that_do_not_fit_are_named() {
        for (text, named) in [
            ("RANK=0", "WORLD_SIZE"),
            ("WORLD_SIZE=2", "RANK"),
            ("RANK=2 WORLD_SIZE=2 MASTER_ADDR=a MASTER_PORT=1", "RANK"),
            ("RANK=x WORLD_SIZE=2 MASTER_ADDR=a MASTER_PORT=1", "RANK"),
            ("RANK=0 WORLD_SIZE=2 MASTER_PORT=1", "MASTER_ADDR"),
            ("RANK=0 WORLD_SIZE=2 MASTER_ADDR=a", "MASTER_PORT"),
            ("RANK=0 WORLD_SIZE=2 MASTER_ADDR=a MASTER_PORT=99999", "MASTER_PORT"),
            ("RANK=0 WORLD_SIZE=2 LOCAL_WORLD_SIZE=3 MASTER_ADDR=a MASTER_PORT=1", "LOCAL_WORLD_SIZE"),
        ] {
            match environment(text) {
                Err(DistributedError::Environment { variable, .. }) => assert_eq!(variable, named, "{text}"),
                other => panic!("{text}: {other:?}"),
            }
        }
    }
}
