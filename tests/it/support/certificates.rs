//! Certificates that are made for a test, and what servers do with them.

use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, date_time_ymd,
};
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion, version};

/// An authority.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key.
pub(crate) struct Identity {
    chain: Vec<CertificateDer<'static>>,
    key: KeyPair,
    /// The certificate as a file.
    pub(crate) pem: String,
}

impl Identity {
    /// The key as a file.
    pub(crate) fn key_pem(&self) -> String {
        self.key.serialize_pem()
    }
}

impl Authority {
    pub(crate) fn new() -> Self {
        Self::named("authority of a test")
    }

    /// One whom nobody takes for another.
    pub(crate) fn named(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// Its certificate as a file.
    pub(crate) fn pem(&self) -> String {
        self.0.as_ref().pem()
    }

    /// A certificate for servers and clients of these names.
    pub(crate) fn vouch_for(&self, names: &[&str]) -> Identity {
        self.vouch(names, |_| {})
    }

    /// One that was good until 2001.
    pub(crate) fn vouch_too_late_for(&self, names: &[&str]) -> Identity {
        self.vouch(names, |params| {
            params.not_before = date_time_ymd(2000, 1, 1);
            params.not_after = date_time_ymd(2001, 1, 1);
        })
    }

    fn vouch(&self, names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> Identity {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        Identity { chain: vec![certificate.der().clone()], pem: certificate.pem(), key }
    }
}

/// What `openssl req -x509` makes: an authority and a server in one.
pub(crate) fn self_signed(names: &[&str]) -> Identity {
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    let mut params = CertificateParams::new(names).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap();
    Identity { chain: vec![certificate.der().clone()], pem: certificate.pem(), key }
}

/// How a server speaks TLS.
pub(crate) struct Speaks<'a> {
    pub(crate) identity: &'a Identity,
    /// Who vouches for its clients, if they have to have certificates.
    pub(crate) clients: Option<&'a Authority>,
    /// The only version of TLS, if it is not all of them.
    pub(crate) version: Option<&'static SupportedProtocolVersion>,
    pub(crate) protocols: &'a [&'a str],
}

impl<'a> Speaks<'a> {
    /// As most servers do.
    pub(crate) fn with(identity: &'a Identity) -> Self {
        Self { identity, clients: None, version: None, protocols: &["http/1.1"] }
    }

    pub(crate) fn config(self) -> ServerConfig {
        let provider = Arc::new(ring::default_provider());
        let versions = match self.version {
            Some(version) => vec![version],
            None => vec![&version::TLS13, &version::TLS12],
        };
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&versions)
            .unwrap();
        let builder = match self.clients {
            Some(authority) => {
                let mut roots = RootCertStore::empty();
                roots.add(authority.0.as_ref().der().clone()).unwrap();
                let roots = Arc::new(roots);
                builder.with_client_cert_verifier(
                    WebPkiClientVerifier::builder_with_provider(roots, provider).build().unwrap(),
                )
            }
            None => builder.with_no_client_auth(),
        };
        let key = PrivateKeyDer::try_from(self.identity.key.serialize_der()).unwrap();
        let mut config = builder.with_single_cert(self.identity.chain.clone(), key).unwrap();
        config.alpn_protocols = self.protocols.iter().map(|name| name.as_bytes().into()).collect();
        config
    }
}
