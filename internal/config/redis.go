package config

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"slices"
	"strings"

	"github.com/mastersocket/mastersocket/internal/redisurl"
)

// Bounds of what concerns Redis.
const (
	maxSecretBytes = 64 << 10 // of a file with a user, a password or secrets
	// maxClusterMessageBytes is how much the broker keeps of its messages, for instances that missed some.
	maxClusterMessageBytes = 8 << 20
	minClusterSecretBytes  = 32 // 128 bits in hexadecimal digits
	maxClusterSecretBytes  = 1024
)

// Redis is how to sign in at the Redis of --redis. All of it can change with a reload.
type Redis struct {
	Username         string
	Password         Secret
	SentinelUsername string
	SentinelPassword Secret
	// TLS is for the schemes that begin with rediss; nil for the others.
	TLS *tls.Config
	// ClusterSecrets authenticate what instances send each other: the first signs, all are accepted. Empty: nothing is
	// signed.
	ClusterSecrets []Secret
}

// redisLogin is one part of a login: what the URL says, and the two settings that can say it in its place.
type redisLogin struct {
	inURL         bool
	setting, file string // names of settings; setting is empty where there is only a file
}

func redisLogins(u *redisurl.URL) []redisLogin {
	return []redisLogin{
		{u.Username != "", "redis-username", "redis-username-file"},
		{u.Password != "", "redis-password", "redis-password-file"},
		{u.SentinelUsername != "", "redis-sentinel-username", ""},
		{u.SentinelPassword != "", "", "redis-sentinel-password-file"},
	}
}

// redis checks the settings about Redis, and no file.
func (v *validation) redis() {
	s := v.s
	if s.Redis == "" {
		for _, f := range settings() {
			needsRedis := f.Name == "cluster-secret-file" || strings.HasPrefix(f.Name, "redis-") && f.Name != "redis-prefix"
			if needsRedis && f.text(s) != "" {
				v.addf(f.Name, "it has no meaning without redis; write where Redis is, or remove it")
			}
		}
		return
	}
	u, err := redisurl.Parse(s.Redis.Reveal())
	if err != nil {
		v.addf("redis", "%s", strings.ReplaceAll(err.Error(), "\n", "; "))
		return
	}
	given := func(setting string) bool { return setting != "" && s.text(setting) != "" }
	for _, l := range redisLogins(&u) {
		switch {
		case given(l.setting) && given(l.file):
			v.addf(l.file, "%s says the same; remove one of them", l.setting)
		case l.inURL && given(l.setting):
			v.addf(l.setting, "the URL in redis says the same; remove it there")
		case l.inURL && given(l.file):
			v.addf(l.file, "the URL in redis says the same; remove it there")
		}
	}
	v.unless(u.Kind == redisurl.Sentinel || s.RedisSentinelUsername == "", "redis-sentinel-username", "it has no meaning where redis names no Sentinels; remove it")
	v.unless(u.Kind == redisurl.Sentinel || s.RedisSentinelPasswordFile == "", "redis-sentinel-password-file", "it has no meaning where redis names no Sentinels; remove it")
	for _, setting := range []string{"redis-ca", "redis-cert", "redis-key", "redis-server-name"} {
		v.unless(u.TLS || s.text(setting) == "", setting, "it has no meaning without TLS; let the URL in redis begin with rediss")
	}
	v.unless(!u.SkipVerify || s.RedisCA == "", "redis-ca", "it has no meaning with skip_verify=true in redis, which accepts any certificate; remove one of them")
	v.unless(s.RedisCert == "" || s.RedisKey != "", "redis-cert", "redis-key is needed as well: the PEM file of the certificate's private key")
	v.unless(s.RedisKey == "" || s.RedisCert != "", "redis-key", "redis-cert is needed as well: the PEM file of the certificate's chain")
	v.unless(hostSyntax.MatchString(s.RedisServerName), "redis-server-name", fmt.Sprintf("%q is not a host name", s.RedisServerName))
	if s.MaxMessageBytes > maxClusterMessageBytes {
		v.addf("max-message-bytes", "%v is too much with redis: an instance keeps %v of its messages for others that missed some; write %v or less",
			s.MaxMessageBytes, Size(maxClusterMessageBytes), Size(maxClusterMessageBytes))
	}
}

// loadRedis reads the files about Redis. No error repeats what they hold.
func (v *validation) loadRedis(l *Loaded) {
	s := v.s
	u, err := redisurl.Parse(s.Redis.Reveal())
	if s.Redis == "" || err != nil {
		return
	}
	first := func(inURL, setting, fileSetting, file string) string {
		switch {
		case file != "":
			return v.secretLine(fileSetting, file)
		case setting != "":
			return setting
		}
		return inURL
	}
	l.Redis = &Redis{
		Username:         first(u.Username, s.RedisUsername, "redis-username-file", s.RedisUsernameFile),
		Password:         Secret(first(u.Password, s.RedisPassword.Reveal(), "redis-password-file", s.RedisPasswordFile)),
		SentinelUsername: first(u.SentinelUsername, s.RedisSentinelUsername, "", ""),
		SentinelPassword: Secret(first(u.SentinelPassword, "", "redis-sentinel-password-file", s.RedisSentinelPasswordFile)),
	}
	if s.ClusterSecretFile != "" {
		l.Redis.ClusterSecrets = v.clusterSecrets()
	} else if !u.TLS && !onThisMachine(&u) {
		v.warnings = append(v.warnings, s.Place("redis")+": a program that can write to this Redis, or to the network before it, can forge "+
			"messages and disconnect clients; use a rediss:// URL, or set cluster-secret-file")
	}
	if u.TLS {
		l.Redis.TLS = v.redisTLS()
	}
}

// onThisMachine reports whether the URL leads to no other machine.
func onThisMachine(u *redisurl.URL) bool {
	if u.Network == "unix" {
		return true
	}
	return !slices.ContainsFunc(u.Addrs, func(addr string) bool { return !isLoopback(addr) })
}

// secretLine reads a file with one line, of any characters.
func (v *validation) secretLine(setting, path string) string {
	b, err := readFile(path, maxSecretBytes)
	if err != nil {
		v.addf(setting, "can't read %s: %v", path, err)
		return ""
	}
	line := strings.TrimSuffix(strings.TrimSuffix(string(b), "\n"), "\r")
	switch {
	case line == "":
		v.addf(setting, "%s is empty; the file must hold one line", path)
	case strings.ContainsAny(line, "\r\n\x00"):
		v.addf(setting, "%s has more than one line; the file must hold one", path)
	case strings.HasPrefix(line, byteOrderMark):
		v.addf(setting, "%s begins with a byte order mark; save the file as UTF-8 without one", path)
	}
	return line
}

// clusterSecrets reads the secrets of a cluster: a line each.
func (v *validation) clusterSecrets() []Secret {
	const setting = "cluster-secret-file"
	path := v.s.ClusterSecretFile
	b, err := readFile(path, maxSecretBytes)
	if err != nil {
		v.addf(setting, "can't read %s: %v", path, err)
		return nil
	}
	var secrets []Secret
	lines := strings.Split(strings.TrimSuffix(strings.ReplaceAll(string(b), "\r\n", "\n"), "\n"), "\n")
	if len(lines) > 2 {
		v.addf(setting, "%s has %d lines; the file must hold one secret, or two in a line each while they rotate", path, len(lines))
		return nil
	}
	for i, line := range lines {
		where := fmt.Sprintf("%s: line %d", path, i+1)
		switch {
		case strings.HasPrefix(line, byteOrderMark):
			v.addf(setting, "%s begins with a byte order mark; save the file as UTF-8 without one", where)
		case len(line) < minClusterSecretBytes || len(line) > maxClusterSecretBytes:
			v.addf(setting, "%s has %d bytes; a secret has %d to %d, such as mastersocket token secret makes", where, len(line),
				minClusterSecretBytes, maxClusterSecretBytes)
		case strings.ContainsFunc(line, func(r rune) bool { return r <= ' ' || r > '~' }):
			v.addf(setting, "%s has a character other than letters, digits and signs of ASCII", where)
		case i == 1 && line == lines[0]:
			v.addf(setting, "%s is the same as line 1; remove it", where)
		}
		secrets = append(secrets, Secret(line))
	}
	return secrets
}

// redisTLS reads the certificates for connections to Redis.
func (v *validation) redisTLS() *tls.Config {
	s := v.s
	c := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: s.RedisServerName}
	if s.RedisCA != "" {
		c.RootCAs = v.readAuthorities("redis-ca", s.RedisCA, func(*x509.Certificate) {})
	}
	if s.RedisCert != "" && s.RedisKey != "" {
		if pair, ok := v.readKeyPair("redis-cert", s.RedisCert, "redis-key", s.RedisKey); ok {
			c.Certificates = []tls.Certificate{pair}
		}
	}
	return c
}

// readKeyPair reads a certificate and its key from the files that two settings name.
func (v *validation) readKeyPair(certSetting, certPath, keySetting, keyPath string) (pair tls.Certificate, ok bool) {
	cert, err := readFile(certPath, maxPEMBytes)
	if err != nil {
		v.addf(certSetting, "can't read %s: %v", certPath, err)
	}
	key, keyErr := readFile(keyPath, maxPEMBytes)
	if keyErr != nil {
		v.addf(keySetting, "can't read %s: %v", keyPath, keyErr)
	}
	if err != nil || keyErr != nil {
		return pair, false
	}
	pair, err = tls.X509KeyPair(withoutMark(cert), withoutMark(key))
	if err != nil {
		v.addf(certSetting, "%s with the key %s: %v", certPath, keyPath, strings.TrimPrefix(err.Error(), "tls: "))
		return pair, false
	}
	return pair, true
}

// readAuthorities reads the certificates of authorities from the file that a setting names, and calls each with every one.
func (v *validation) readAuthorities(setting, path string, each func(*x509.Certificate)) *x509.CertPool {
	b, err := readFile(path, maxPEMBytes)
	if err != nil {
		v.addf(setting, "can't read %s: %v", path, err)
		return nil
	}
	all, err := parseCertificates(withoutMark(b))
	if err != nil {
		v.addf(setting, "%s: %v", path, err)
		return nil
	}
	pool := x509.NewCertPool()
	for _, c := range all {
		pool.AddCert(c)
		each(c)
	}
	return pool
}

// byteOrderMark begins UTF-8 files of some editors.
const byteOrderMark = "\ufeff"

// withoutMark returns a PEM file without a byte order mark, behind which its first block would go unnoticed.
func withoutMark(b []byte) []byte { return bytes.TrimPrefix(b, []byte(byteOrderMark)) }
