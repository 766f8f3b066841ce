package main

import (
	"crypto/tls"
	"errors"
	"fmt"

	"github.com/mastersocket/mastersocket/client"
)

// tlsFlags are the flags for connections with wss://.
type tlsFlags struct {
	CA   string `name:"ca" group:"Connection" placeholder:"FILE" help:"With wss://: PEM file with the authorities for the certificate of the hub, besides those that the system trusts."`
	Cert string `name:"cert" group:"Connection" placeholder:"FILE" help:"With wss://: PEM file with a client certificate, which the hub may take instead of a token. It is read again for each connection."`
	Key  string `name:"key" group:"Connection" placeholder:"FILE" help:"PEM file with the key of --cert."`
}

// set puts what the flags say into o.
func (f *tlsFlags) set(o *client.Options) error {
	if (f.Cert == "") != (f.Key == "") {
		return errors.New("--cert and --key: want both or none")
	}
	if f.CA == "" && f.Cert == "" {
		return nil
	}
	o.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	if f.CA != "" {
		trusted, err := trusting(f.CA)
		if err != nil {
			return fmt.Errorf("--ca: %w", err)
		}
		o.TLSConfig.RootCAs = trusted
	}
	if f.Cert == "" {
		return nil
	}
	if _, err := f.certificate(nil); err != nil {
		return err
	}
	o.TLSConfig.GetClientCertificate = f.certificate
	return nil
}

// certificate reads the client certificate.
func (f *tlsFlags) certificate(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
	c, err := tls.LoadX509KeyPair(f.Cert, f.Key)
	if err != nil {
		return nil, fmt.Errorf("--cert %s, --key %s: %w", f.Cert, f.Key, err)
	}
	return &c, nil
}
