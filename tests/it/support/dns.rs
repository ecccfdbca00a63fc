//! A name server that knows a few names, for resolvers that ask no other port than 53.

use std::{
    collections::BTreeMap,
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex},
};

use tokio::{net::UdpSocket, task::JoinHandle};

use super::skip::Missing;

/// The types of records, by RFC 1035 and RFC 3596.
const A: u16 = 1;
const AAAA: u16 = 28;

/// A running name server; it ends with this value.
pub(crate) struct Dns {
    address: Ipv4Addr,
    asked: Arc<Mutex<Vec<String>>>,
    task: JoinHandle<()>,
}

impl Dns {
    /// Starts one on port 53 of an address in 127.0.0.0/8 that nobody else has.
    pub(crate) async fn start(names: &[(&str, Ipv4Addr)]) -> Result<Self, Missing> {
        let address = Ipv4Addr::new(127, 53, fastrand::u8(1..255), fastrand::u8(1..255));
        let socket = match UdpSocket::bind((address, 53)).await {
            Ok(socket) => socket,
            Err(error) => {
                assert_eq!(error.kind(), io::ErrorKind::PermissionDenied, "{error}");
                return Err(Missing(format!("port 53 of {address}: {error}")));
            }
        };
        let names: BTreeMap<String, Ipv4Addr> = (names.iter())
            .map(|(name, address)| ((*name).to_owned(), *address))
            .collect();
        let asked = Arc::new(Mutex::default());
        let task = tokio::spawn(serve(socket, names, Arc::clone(&asked)));
        Ok(Self {
            address,
            asked,
            task,
        })
    }

    /// Returns its address.
    pub(crate) fn address(&self) -> Ipv4Addr {
        self.address
    }

    /// Returns the names that were asked for.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

impl Drop for Dns {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(
    socket: UdpSocket,
    names: BTreeMap<String, Ipv4Addr>,
    asked: Arc<Mutex<Vec<String>>>,
) {
    let mut query = [0; 512];
    loop {
        let received: io::Result<(usize, SocketAddr)> = socket.recv_from(&mut query).await;
        let Ok((length, from)) = received else {
            continue;
        };
        let Some((name, kind, end)) = question(&query[..length]) else {
            continue;
        };
        let answer = answer(&query[..end], names.get(&name).copied(), kind);
        asked.lock().unwrap().push(name);
        let _ = socket.send_to(&answer, from).await;
    }
}

/// Returns name and type of a query's one question, and where it ends.
fn question(query: &[u8]) -> Option<(String, u16, usize)> {
    let (mut labels, mut at) = (Vec::new(), 12);
    loop {
        let length = usize::from(*query.get(at)?);
        at += 1;
        if length == 0 {
            break;
        }
        let label = query.get(at..at + length)?;
        labels.push(String::from_utf8_lossy(label).to_lowercase());
        at += length;
    }
    let kind = u16::from_be_bytes([*query.get(at)?, *query.get(at + 1)?]);
    Some((labels.join("."), kind, at + 4))
}

/// Returns the answer to a query, cut behind its question: an address, nothing of this type, or no such name.
fn answer(query: &[u8], address: Option<Ipv4Addr>, kind: u16) -> Vec<u8> {
    let mut answer = query.to_vec();
    // An answer, recursion available; 3 is "no such name".
    answer[2..4].copy_from_slice(&[0x81, if address.is_some() { 0x80 } else { 0x83 }]);
    // One question, and no records but in the answer.
    answer[4..12].copy_from_slice(&[0, 1, 0, 0, 0, 0, 0, 0]);
    assert!([A, AAAA].contains(&kind), "a query of type {kind}");
    if let (Some(address), A) = (address, kind) {
        answer[7] = 1;
        // The question's name, type A, class IN, a minute, four bytes.
        answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
        answer.extend(address.octets());
    }
    answer
}

#[test]
fn a_question_is_read_and_answered() {
    let query = [
        &[1, 2, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0][..],
        b"\x08Registry\x07example\0\0\x01\0\x01",
    ]
    .concat();
    let (name, kind, end) = question(&query).unwrap();
    assert_eq!((&*name, kind, end), ("registry.example", A, query.len()));
    let known = answer(&query, Some(Ipv4Addr::LOCALHOST), A);
    assert_eq!(known[..4], [1, 2, 0x81, 0x80]);
    assert!(known.ends_with(&[0, 4, 127, 0, 0, 1]));
    let no_such_type = answer(&query, Some(Ipv4Addr::LOCALHOST), AAAA);
    assert_eq!((no_such_type[3], no_such_type.len()), (0x80, query.len()));
    assert_eq!(answer(&query, None, A)[3], 0x83);
    assert_eq!(question(&query[..20]), None);
}
