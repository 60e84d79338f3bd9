//! Whom TLS trusts, how this client shows who it is, and what its errors mean.

use std::error::Error as StdError;
use std::io;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::sign::CertifiedKey;
use rustls::{
    AlertDescription, CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore,
    SignatureScheme,
};
use rustls_platform_verifier::Verifier;

use crate::error::{Error, Kind};
use crate::secrets::named;

/// Whom to trust, and who this client is.
#[derive(Debug, Clone, Default)]
pub struct Trust {
    /// Authorities beside those of the system.
    roots: Vec<CertificateDer<'static>>,
    /// A certificate with those of the authorities between, and its key.
    identity: Option<Arc<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>>,
    /// Whether everybody is trusted.
    insecure: bool,
    /// The authorities that vouch for servers, or why there are none. Clones share them.
    known: Arc<OnceLock<Result<Arc<Known>, rustls::Error>>>,
}

impl Trust {
    /// Reads `cacert`, the authorities to trust beside the system's, and `identity`, the certificate of this client
    /// and its key; `insecure` trusts everybody.
    ///
    /// # Errors
    /// If a file cannot be read, or holds something else; the messages name it, and never what is in it.
    pub fn load(
        cacert: Option<&Path>,
        identity: Option<(&Path, &Path)>,
        insecure: bool,
    ) -> Result<Self, Error> {
        let roots = match cacert {
            Some(path) => certificates("--cacert", path)?,
            None => Vec::new(),
        };
        let identity = match identity {
            Some((cert, key)) => {
                let pair = (certificates("--cert", cert)?, private_key(key)?);
                Some((Arc::new(pair), cert, key))
            }
            None => None,
        };
        let pair = identity.as_ref().map(|(pair, ..)| pair.clone());
        let trust = Self { roots, identity: pair, insecure, known: Arc::default() };
        // What rustls does not like is better known before the run, while the files can be named.
        if let Some(path) = cacert {
            let mut store = RootCertStore::empty();
            for root in &trust.roots {
                store.add(root.clone()).map_err(|error| {
                    unusable("--cacert", path, "a certificate in it cannot be used").because(error)
                })?;
            }
        }
        if let Some((pair, cert, key)) = identity {
            let (chain, secret) = &*pair;
            CertifiedKey::from_der(chain.clone(), secret.clone_key(), &provider()).map_err(
                |_| {
                    let what = format!("--key {} is not the key of its certificate", key.display());
                    unusable("--cert", cert, &what)
                },
            )?;
        }
        Ok(trust)
    }

    /// The same trust without the certificate of this client, for servers that are not the one under test.
    #[must_use]
    pub fn anonymous(&self) -> Self {
        Self { identity: None, ..self.clone() }
    }

    /// A configuration that offers `protocols`. It reads the system's authorities in the first handshake of any
    /// configuration, so that a client of plain http needs none.
    ///
    /// # Errors
    /// If TLS cannot be set up.
    pub fn config(&self, protocols: &[&str]) -> Result<ClientConfig, Error> {
        let fail = |what: &str| Error::new(Kind::System, format!("cannot speak TLS: {what}"));
        let provider = provider();
        let verifier: Arc<dyn ServerCertVerifier> = if self.insecure {
            Arc::new(Everybody(provider.clone()))
        } else {
            Arc::new(OnDemand(self.clone(), provider.clone()))
        };
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| fail("no version of it").because(error))?
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        let mut config = match self.identity.as_deref() {
            Some((chain, key)) => builder
                .with_client_auth_cert(chain.clone(), key.clone_key())
                .map_err(|_| fail("the client's certificate and key do not fit"))?,
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        Ok(config)
    }

    /// Reads the system's authorities ahead of the first handshake, where the time that it takes would be measured.
    ///
    /// # Errors
    /// If there are none.
    pub fn read_authorities(&self) -> Result<(), Error> {
        if self.insecure {
            return Ok(());
        }
        self.known().map(drop).map_err(|error| {
            Error::new(Kind::System, format!("cannot speak TLS: {NO_AUTHORITIES}"))
                .because(error)
                .hint("install the system's certificates, or name a file with --cacert")
        })
    }

    fn known(&self) -> Result<Arc<Known>, rustls::Error> {
        let read = || {
            let verifier = verifier(&self.roots)?;
            Ok(Arc::new(Known { named: self.roots.clone(), verifier }))
        };
        self.known.get_or_init(read).clone()
    }
}

/// Why a handshake fails on a system without certificates.
const NO_AUTHORITIES: &str = "no certificates of authorities";

/// Trusts the authorities of the system and `more`; those inside the program where the system has none, as in images
/// without a package of certificates.
fn verifier(
    more: &[CertificateDer<'static>],
) -> Result<Arc<dyn ServerCertVerifier>, rustls::Error> {
    match Verifier::new(provider()) {
        Ok(verifier) if more.is_empty() => Ok(Arc::new(verifier)),
        Ok(_) => Ok(Arc::new(Verifier::new_with_extra_roots(more.iter().cloned(), provider())?)),
        Err(_) => {
            let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
            for root in more {
                roots.add(root.clone())?;
            }
            let verifier = WebPkiServerVerifier::builder_with_provider(roots.into(), provider());
            let verifier = verifier.build().map_err(|why| rustls::Error::General(why.to_string()));
            Ok(verifier?)
        }
    }
}

fn provider() -> Arc<CryptoProvider> {
    CryptoProvider::get_default()
        .cloned()
        .unwrap_or_else(|| Arc::new(rustls::crypto::ring::default_provider()))
}

fn unusable(flag: &str, path: &Path, what: &str) -> Error {
    Error::new(Kind::Input, format!("{flag}{}: {what}", named(path)))
}

/// Returns what a PEM file is not. Without the parser's own words, which repeat lines of the file.
fn not_pem(flag: &str, path: &Path, error: pem::Error, expected: &str) -> Error {
    match error {
        pem::Error::Io(error) => unusable(flag, path, "cannot be read").because(error),
        _ => unusable(flag, path, &format!("expected {expected} in PEM form")),
    }
}

fn certificates(flag: &str, path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let fail = |error| not_pem(flag, path, error, "certificates");
    let found: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path).map_err(fail)?.collect();
    match found {
        Ok(found) if found.is_empty() => Err(fail(pem::Error::NoItemsFound)),
        Ok(found) => Ok(found),
        Err(error) => Err(fail(error)),
    }
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, Error> {
    PrivateKeyDer::from_pem_file(path)
        .map_err(|error| not_pem("--key", path, error, "a private key without a passphrase"))
}

/// Trusts servers that an authority vouches for, and those whose own certificate the user has named.
#[derive(Debug)]
struct Known {
    named: Vec<CertificateDer<'static>>,
    verifier: Arc<dyn ServerCertVerifier>,
}

impl Known {
    fn verify(
        &self,
        leaf: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if self.named.iter().any(|named| named == leaf) {
            // Those that servers make for themselves are often authorities at the same time, which would be refused.
            verify_server_name(&ParsedCertificate::try_from(leaf)?, name)?;
            return Ok(ServerCertVerified::assertion());
        }
        self.verifier.verify_server_cert(leaf, between, name, ocsp, now)
    }
}

/// Trusts whom [`Known`] trusts, which is read when the first server shows its certificate.
#[derive(Debug)]
struct OnDemand(Trust, Arc<CryptoProvider>);

impl ServerCertVerifier for OnDemand {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let known = self
            .0
            .known()
            .map_err(|error| rustls::Error::General(format!("{NO_AUTHORITIES}: {error}")))?;
        known.verify(leaf, between, name, ocsp, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(
            message,
            certificate,
            signed,
            &self.1.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(
            message,
            certificate,
            signed,
            &self.1.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.1.signature_verification_algorithms.supported_schemes()
    }
}

/// Trusts every server.
#[derive(Debug)]
struct Everybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Everybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// What went wrong in TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// One line that says what happened and what to do about it.
    pub message: String,
    /// Whether another attempt ends in the same way: certificates and protocols do not change by themselves.
    pub lasting: bool,
}

/// Returns what `error` says of TLS; `None` if it is about something else.
pub fn trouble(error: &(dyn StdError + 'static)) -> Option<Trouble> {
    cause(error).map(explain)
}

/// Returns whether `error` is that a server speaks none of the versions of HTTP that it was offered.
pub fn refuses_version(error: &(dyn StdError + 'static)) -> bool {
    cause(error).is_some_and(is_about_versions)
}

fn is_about_versions(error: &rustls::Error) -> bool {
    use rustls::Error as E;
    matches!(
        error,
        E::NoApplicationProtocol | E::AlertReceived(AlertDescription::NoApplicationProtocol)
    )
}

/// The error of TLS within `error`.
fn cause<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a rustls::Error> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(error) = error.downcast_ref::<rustls::Error>() {
            return Some(error);
        }
        // An error of I/O does not count what it wraps as its source, only the source of that.
        next = match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(inner) => Some(inner),
            None => error.source(),
        };
    }
    None
}

fn explain(error: &rustls::Error) -> Trouble {
    use rustls::Error as E;
    let (what, advice) = match error {
        E::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => (
            name_mismatch(error),
            "use a name of the certificate in --base-url, or go without the check with --insecure",
        ),
        E::InvalidCertificate(
            CertificateError::Expired | CertificateError::ExpiredContext { .. },
        ) => (
            "the server's certificate has expired".to_owned(),
            "renew it, or go without the check with --insecure",
        ),
        E::InvalidCertificate(CertificateError::UnknownIssuer) => (
            "no known authority vouches for the server's certificate".to_owned(),
            "name a file with the authority's with --cacert, or go without the check with --insecure",
        ),
        E::InvalidCertificate(why) if reason(why) == SELF_MADE => (
            "the server's certificate is that of an authority, such as `openssl req -x509` makes"
                .to_owned(),
            "name a file with that very certificate with --cacert, or go without the check with --insecure",
        ),
        E::InvalidCertificate(why) => (
            format!("the server's certificate is not good: {}", reason(why)),
            "name a file with that of its authority with --cacert, or go without the check with --insecure",
        ),
        error if is_about_versions(error) => (
            "the server does not speak the version of HTTP that it was offered".to_owned(),
            "auto, which --http-version is if it is left out, offers HTTP/1.1 first and HTTP/2 then",
        ),
        E::AlertReceived(
            alert @ (AlertDescription::CertificateRequired
            | AlertDescription::BadCertificate
            | AlertDescription::CertificateUnknown
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateRevoked
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::UnknownCA
            | AlertDescription::AccessDenied),
        ) => (
            format!("the server refuses this client's certificate, or wants one ({alert:?})"),
            "give it with --cert and --key",
        ),
        E::General(what) if what.starts_with(NO_AUTHORITIES) => (
            format!("cannot speak TLS: {what}"),
            "install the system's certificates, or name a file with --cacert",
        ),
        E::AlertReceived(alert) => {
            return Trouble {
                message: format!("TLS: the server ended the connection ({alert:?})"),
                lasting: false,
            };
        }
        E::InvalidMessage(_) => {
            return Trouble {
                message: format!(
                    "what the server sent is not TLS ({error}): if it speaks plain http, write http:// in the place of https://"
                ),
                lasting: true,
            };
        }
        _ => return Trouble { message: format!("TLS: {error}"), lasting: false },
    };
    Trouble { message: format!("{what}: {advice}"), lasting: true }
}

/// What is wrong with a certificate that has `basicConstraints: CA:TRUE` and is a server's all the same.
const SELF_MADE: &str = "ca used as end entity";

/// Why a certificate is not good, as words.
///
/// Most reasons have no text but the name of a variant, which others may be wrapped around.
fn reason(why: &CertificateError) -> String {
    let text = match why {
        CertificateError::Other(why) => why.0.to_string(),
        why => why.to_string(),
    };
    let inner = text.trim_end_matches([')', ' ']).rsplit('(').next().unwrap_or_default();
    let is_name = !inner.is_empty() && inner.chars().all(|c| c.is_ascii_alphanumeric());
    if !is_name {
        return text;
    }
    let mut words = String::new();
    let mut after_lower = false;
    for c in inner.chars() {
        if c.is_ascii_uppercase() && after_lower {
            words.push(' ');
        }
        after_lower = !c.is_ascii_uppercase();
        words.push(c.to_ascii_lowercase());
    }
    words
}

fn name_mismatch(error: &rustls::Error) -> String {
    let rustls::Error::InvalidCertificate(CertificateError::NotValidForNameContext {
        expected,
        presented,
    }) = error
    else {
        return "the server's certificate is not for this host".to_owned();
    };
    let names = if presented.is_empty() { "no name".to_owned() } else { presented.join(", ") };
    format!("the server's certificate is not for {}, but for {names}", expected.to_str())
}

#[cfg(test)]
mod tests {
    use std::fmt;

    use rustls::OtherError;

    use super::*;

    /// As the errors of webpki: without a text of its own.
    #[derive(Debug)]
    struct Nameless(&'static str);

    impl fmt::Display for Nameless {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.0)
        }
    }

    impl StdError for Nameless {}

    #[test]
    fn reasons_are_words() {
        let other = |name| CertificateError::Other(OtherError(std::sync::Arc::new(Nameless(name))));
        for (why, words) in [
            (CertificateError::BadEncoding, "bad encoding"),
            (CertificateError::Revoked, "revoked"),
            (CertificateError::NotValidYet, "not valid yet"),
            (other("CaUsedAsEndEntity"), SELF_MADE),
            (other("Inner(PathLenConstraintViolated)"), "path len constraint violated"),
            (other("no such thing"), "no such thing"),
        ] {
            let reason = reason(&why);
            assert!(reason.ends_with(words), "{why:?}: {reason}");
            assert!(!reason.contains("Other("), "{why:?}: {reason}");
        }
    }
}
