//! The address under which the other processes reach this one.
use super::environment::Environment;
use super::error::DistributedError;
use super::ffi::Outlet;
use std::net::{IpAddr, ToSocketAddrs, UdpSocket};

/// Where Gloo's connections go out: the interface that `GLOO_SOCKET_IFNAME` names, otherwise the one by
/// which this host reaches rank 0's.
///
/// # Errors
/// Rank 0's host is unknown, or the address would be of use on this host alone.
pub fn outlet(environment: &Environment) -> Result<Outlet, DistributedError> {
    let interface = std::env::var("GLOO_SOCKET_IFNAME").ok().filter(|name| !name.is_empty());
    choose(environment, interface)
}

fn choose(environment: &Environment, interface: Option<String>) -> Result<Outlet, DistributedError> {
    // torchrun takes a list; c10d uses one a connection in turn, here there is one.
    if let Some(name) = interface.as_deref().and_then(|names| names.split(',').next()) {
        return Ok(Outlet::Interface(name.trim().to_string()));
    }
    let host = &environment.master_address;
    let address = towards(host, environment.master_port).map_err(|error| DistributedError::Address {
        problem: format!("no way from this host to rank 0's, {host} (MASTER_ADDR): {error}"),
    })?;
    let across_hosts = match environment.local_world_size {
        Some(local) => local < environment.world_size,
        // Who is told to find rank 0 on its own host is on one host with it.
        None => !is_this_host(host),
    };
    if address.is_loopback() && across_hosts {
        return Err(DistributedError::Address {
            problem: format!(
                "{host} (MASTER_ADDR) is {address} on this host, which the other hosts cannot reach"
            ),
        });
    }
    Ok(Outlet::Address(address.to_string()))
}

/// The local address of the way to `host`: of a socket that is connected, though nothing is sent.
fn towards(host: &str, port: u16) -> std::io::Result<IpAddr> {
    let mut last = std::io::Error::new(std::io::ErrorKind::NotFound, "the name has no address");
    for address in (host, port.max(1)).to_socket_addrs()? {
        let any = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        match UdpSocket::bind(any)
            .and_then(|socket| socket.connect(address).and_then(|()| socket.local_addr()))
        {
            Ok(local) => return Ok(local.ip()),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn is_this_host(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(host: &str, world_size: usize, local_world_size: Option<usize>) -> Environment {
        Environment {
            rank: 0,
            world_size,
            local_rank: 0,
            local_world_size,
            master_address: host.into(),
            master_port: 29500,
            agent_serves: false,
            restarts: 0,
        }
    }

    #[test]
    fn loopback_serves_one_host_alone() {
        let address = |host, world, local| choose(&environment(host, world, local), None);
        assert_eq!(address("127.0.0.1", 2, Some(2)).unwrap(), Outlet::Address("127.0.0.1".into()));
        assert_eq!(address("127.0.0.1", 2, None).unwrap(), Outlet::Address("127.0.0.1".into()));
        for (host, world, local) in [("127.0.0.1", 4, Some(2)), ("no.such.host.invalid", 2, None)] {
            let error = address(host, world, local).unwrap_err();
            assert!(matches!(error, DistributedError::Address { .. }), "{error}");
        }
    }

    #[test]
    fn a_named_interface_is_taken() {
        let outlet = choose(&environment("no.such.host.invalid", 2, None), Some("eth1,eth2".into()));
        assert_eq!(outlet.unwrap(), Outlet::Interface("eth1".into()));
    }
}
