// Package config reads the settings of the hub from flags, environment variables, a YAML file and defaults. Each source
// overrides those behind it in this list.
//
// [Serve] has the settings as fields for kong, and reads the other sources by a hook of its own. A kong grammar that has a
// Serve, as a command or embedded in one, needs nothing else. The tags of a field say what else is to be known of it; see
// [Setting]. The file and the environment know every setting by the name of its flag: --max-message-bytes is max-message-bytes in the file and MASTERSOCKET_MAX_MESSAGE_BYTES in the
// environment. Lists are separated by commas, or written as lists in the file. An environment variable that is set but
// empty counts as not set. Relative paths in the file are relative to the file's own folder.
//
// A Serve must not be used by several goroutines while it is parsed; afterwards it is only read.
package config

import (
	"log/slog"
	"time"
)

// Serve has the settings of the hub. Its zero value has no defaults: parse it with kong.
type Serve struct {
	Config string `path:"" reload:"" group:"Configuration" placeholder:"FILE" help:"YAML file with settings, one key for each flag (max-message-bytes: 32KiB). Environment variables (MASTERSOCKET_MAX_MESSAGE_BYTES=32KiB) override the file, and flags override both. Check it with: mastersocket config check FILE."`

	Listen    Address `group:"Listeners" default:":42069" help:"Address for WebSocket clients (host:port; without a host: every interface)."`
	TCPListen Address `name:"tcp-listen" group:"Listeners" placeholder:"HOST:PORT" help:"Address for clients that speak the same JSON over plain TCP. Without it there is none."`
	// TCPGap is for the original client, which parses what it reads at once as one message.
	TCPGap      time.Duration `name:"tcp-gap" group:"Listeners" default:"1ms" help:"Pause between two messages to a client of --tcp-listen that asks for no feature: the original client loses messages that it reads together. 0 for none."`
	AdminListen Address       `group:"Listeners" default:"127.0.0.1:42070" help:"Address for health checks, metrics and the admin API; off for none."`
	TLSListen   Address       `name:"tls-listen" group:"Listeners" placeholder:"HOST:PORT" help:"Address for WebSocket clients over TLS (wss://), beside --listen. Without it there is none; --listen off leaves it as the only one."`
	TLSCert     string        `path:"" reload:"" name:"tls-cert" group:"Listeners" placeholder:"FILE" help:"PEM file with the certificate of the listeners with TLS, and behind it those of the authorities in between. It is read again when it changes."`
	TLSKey      string        `path:"" reload:"" secret:"" name:"tls-key" group:"Listeners" placeholder:"FILE" help:"PEM file with the key of --tls-cert."`
	TLSClientCA string        `path:"" reload:"" name:"tls-client-ca" group:"Listeners" placeholder:"FILE" help:"PEM file with the authorities whose certificates clients may show. A certificate of another authority is refused; a client may show none. The tokens file says what a certificate allows."`
	AdminTLS    bool          `name:"admin-tls" group:"Listeners" help:"Serve --admin-listen over TLS, with the same certificate."`
	HTTPAPI     bool          `name:"http-api" group:"Listeners" default:"true" help:"Serve POST /v1/events and POST /v1/requests on the listeners of WebSocket clients, for holders of tokens without a connection. They may do by HTTP what they may do by WebSocket, and no more; --http-api=false turns it off."`
	Enable      []string      `group:"Listeners" placeholder:"TYPE" help:"Foreign protocols to serve beside the hub's own, on paths of theirs: echo, fleet, socketio, team."`
	// TeamAnonymous exists because the original team protocol has no tokens.
	TeamAnonymous   bool          `group:"Listeners" help:"With --enable team: let clients open /global without a token. Every client that reaches the hub then sees every team and its messages."`
	TeamHealthcheck time.Duration `group:"Listeners" default:"30s" help:"With --enable team: how often clients are asked for the state of their teams."`
	FleetFile       string        `path:"" reload:"" group:"Listeners" placeholder:"FILE" help:"With --enable fleet: YAML file with the fleets of bot processes, and how each is managed."`
	// FleetCommandEvent exists because the original's code and its description differ.
	FleetCommandEvent string `group:"Listeners" default:"cmd" help:"With --enable fleet: the name of the event that carries commands to bots."`
	// FleetAnonymous exists because the original bots have no tokens.
	FleetAnonymous bool `group:"Listeners" help:"With --enable fleet: bots without a token may be of the fleet default from any address, not from this machine alone. Every client that reaches the hub then gets that fleet's token."`
	// AllowedOrigins are the origins, beside the hub's own host, whose pages may connect.
	AllowedOrigins []string `group:"Listeners" placeholder:"ORIGIN" help:"Web pages that may connect from a browser besides those of the hub's own host: https://app.example.com, https://*.example.com, http://localhost:* for any port, file:// or null for local files, or * for all. Clients other than browsers need none."`
	// AllowedHosts are the names in the Host header that the listeners answer.
	AllowedHosts []string `group:"Listeners" placeholder:"NAME" help:"Names under which clients and operators reach the hub: hub.example.com, *.example.com, or * for all. Requests with another Host header are refused; addresses and localhost are always answered. Default: on a loopback address no other names, elsewhere all. This stops web pages that reach a private address by DNS rebinding."`

	Token      Secret `reload:"" secret:"" group:"Tokens" placeholder:"TOKEN" help:"The one token of all clients; its holders have all rights. Every user of this machine can read a flag (ps): better MASTERSOCKET_TOKEN or --token-file."`
	TokenFile  string `path:"" reload:"" secret:"" group:"Tokens" placeholder:"FILE" help:"File that holds the one token of all clients in its only line."`
	TokensFile string `path:"" reload:"" group:"Tokens" placeholder:"FILE" help:"YAML file with many tokens (as SHA-256) and what each may do. Without any token the hub makes one and prints it."`

	OIDCIssuer     string   `name:"oidc-issuer" group:"Tokens" placeholder:"URL" help:"Issuer of signed tokens (JWT) that clients may show, such as a Kubernetes cluster or an identity provider. Entries with claims in --tokens-file say what they may do."`
	OIDCAudience   []string `name:"oidc-audience" group:"Tokens" placeholder:"NAME" help:"Audiences: such a token must be for one of them (its claim aud). Required with --oidc-issuer."`
	OIDCJWKS       string   `path:"" name:"oidc-jwks" group:"Tokens" placeholder:"URL|FILE" help:"Where the issuer's keys are: an address or a file, which is read again when it changes. Default: where the issuer itself says."`
	OIDCCA         string   `path:"" name:"oidc-ca" group:"Tokens" placeholder:"FILE" help:"PEM file with the authorities for the issuer's TLS certificate. Default: those of the system."`
	OIDCBearerFile string   `path:"" secret:"" name:"oidc-bearer-file" group:"Tokens" placeholder:"FILE" help:"File with the token with which the keys are fetched, for a Kubernetes API server that asks for one."`

	IssuersFile string `path:"" group:"Tokens" placeholder:"FILE" help:"YAML file with several issuers of signed tokens, each with its own settings. One may be local: your own backend, with its key in a file."`

	Redis       Secret `secret:"" group:"Cluster" placeholder:"URL" help:"Redis through which several hubs become one: redis://host:6379/0, rediss://… for TLS, redis+sentinel://… and redis+cluster://… likewise."`
	RedisPrefix string `group:"Cluster" default:"ms" help:"Begins the names of all channels and keys in Redis. Hubs that share it are one hub."`

	RedisUsername             string `reload:"" group:"Cluster" placeholder:"NAME" help:"User of Redis, in place of the one in the URL."`
	RedisUsernameFile         string `path:"" reload:"" group:"Cluster" placeholder:"FILE" help:"File that holds the user of Redis in one line."`
	RedisPassword             Secret `reload:"" secret:"" group:"Cluster" placeholder:"PASSWORD" help:"Password of Redis, of any characters. Every user of this machine can read a flag (ps): better MASTERSOCKET_REDIS_PASSWORD or --redis-password-file."`
	RedisPasswordFile         string `path:"" reload:"" secret:"" group:"Cluster" placeholder:"FILE" help:"File that holds the password of Redis in one line. New connections use what it holds then, so that passwords can rotate."`
	RedisSentinelUsername     string `reload:"" group:"Cluster" placeholder:"NAME" help:"User of the Sentinels."`
	RedisSentinelPasswordFile string `path:"" reload:"" secret:"" group:"Cluster" placeholder:"FILE" help:"File that holds the password of the Sentinels in one line."`
	RedisCA                   string `name:"redis-ca" path:"" reload:"" group:"Cluster" placeholder:"FILE" help:"PEM file with the authorities for the certificates of Redis. Default: those of the system."`
	RedisCert                 string `path:"" reload:"" group:"Cluster" placeholder:"FILE" help:"PEM file with a client certificate for Redis, and behind it those of the authorities in between."`
	RedisKey                  string `path:"" reload:"" secret:"" group:"Cluster" placeholder:"FILE" help:"PEM file with the key of --redis-cert."`
	RedisServerName           string `reload:"" group:"Cluster" placeholder:"HOST" help:"Name that the certificates of Redis must be for. Default: the host that the hub connects to."`
	ClusterSecretFile         string `path:"" reload:"" secret:"" group:"Cluster" placeholder:"FILE" help:"File that holds a secret with which instances authenticate what they send each other through Redis; two, in a line each, while it rotates: the first signs, both are accepted."`

	// History is a list in YAML or JSON.
	History string `reload:"" structured:"" group:"Cluster" placeholder:"RULES" help:"Groups with history: a list of rules, of which the first that matches a group counts, such as [{groups: \"orders.*\", messages: 10000, age: 24h, bytes: 64MiB, max_groups: 10000}]. Of each group the newest messages are kept, at most so many, so old and so large; age is required. Switch it on once all instances have a release that knows it."`

	Node               string `group:"Cluster" placeholder:"NAME" help:"Name of this instance, for operators (default: the host's name)."`
	Advertise          string `group:"Cluster" placeholder:"URL" help:"URL at which the other instances reach a listener of this one, by its own address and not a load balancer's: http://10.1.2.3:42069, or https://… with --tls-listen. With --enable socketio they relay requests of HTTP long polling there, so that these need no sticky sessions."`
	AdvertiseCA        string `path:"" name:"advertise-ca" group:"Cluster" placeholder:"FILE" help:"PEM file with the authorities for the certificates of the other instances at what they advertise. Default: those of the system."`
	ReadyWithoutBroker bool   `group:"Cluster" help:"Stay ready (/readyz) while Redis is away: clients of this instance still reach each other, but those of other instances don't."`

	Loops           int  `group:"Limits" default:"0" help:"Event loops that share the connections; 0: one for each core."`
	MaxGroups       int  `group:"Limits" default:"1024" help:"Groups of one client at the same time, those of its IDENTIFY (at most 32) included."`
	MaxConnections  int  `group:"Limits" default:"0" help:"Connections at the same time; 0: as many as the limit of open files allows."`
	MaxMessageBytes Size `group:"Limits" default:"32768" help:"Largest message of a client, in bytes or with a unit (32KiB)."`
	// MaxConnectionsPerAddress protects against one machine that takes all connections.
	MaxConnectionsPerAddress int           `group:"Limits" default:"0" help:"Connections of one address (of IPv6: of one /64) at the same time; 0: no limit. Further ones get TRY_AGAIN_LATER. Behind a load balancer that hides addresses, name it in --trusted-proxies."`
	TrustedProxies           []string      `group:"Limits" placeholder:"ADDRESS" help:"Addresses, or networks such as 10.0.0.0/8, of proxies and load balancers. --max-connections-per-address does not count their connections."`
	PresenceMembers          int           `group:"Limits" default:"10000" help:"Members that a group may have for its watchers to be told of each. Those of a larger group are told how many there are. Set it alike on all instances."`
	RequestMemory            Size          `group:"Limits" default:"67108864" help:"Memory that open requests may take, in bytes or with a unit (64MiB): 256 bytes each, with a retry the message too, and 32 bytes for each receiver. Further ones are refused with TOO_MANY_REQUESTS."`
	SendQueueBytes           Size          `group:"Limits" default:"1048576" help:"Unsent messages that may wait for one client, in bytes or with a unit (1MiB), before it is disconnected as too slow."`
	SendQueueTotal           Size          `group:"Limits" default:"0" help:"Memory that the unsent messages of all clients may take, in bytes or with a unit (256MiB). Beyond it the clients for which most waits are disconnected as too slow. 0: a quarter of GOMEMLIMIT, of the cgroup's limit or of the machine's memory, whichever is least."`
	WriteTimeout             time.Duration `group:"Limits" default:"30s" help:"How long unsent messages may wait without any progress before the client is disconnected as too slow."`
	IdentifyTimeout          time.Duration `group:"Limits" default:"10s" help:"How long a new client may take to identify itself."`
	HandshakeTimeout         time.Duration `group:"Limits" default:"10s" help:"How long a new connection may take to send its whole opening handshake."`
	MessageTimeout           time.Duration `group:"Limits" default:"30s" help:"How long a client may take from the first to the last byte of a message."`
	PingInterval             time.Duration `group:"Limits" default:"30s" help:"A client that is silent for so long gets a ping, and is disconnected after the same time again."`
	DrainTimeout             time.Duration `reload:"" group:"Limits" default:"30s" help:"On SIGTERM, the time over which clients are told to reconnect elsewhere; 0: at once."`
	DrainRate                int           `reload:"" group:"Limits" default:"0" help:"Most clients that are told to reconnect elsewhere within a second. If drain-timeout is too short for this rate, drain-timeout wins. 0: they are spread over drain-timeout."`

	LogFormat string `group:"Logging" default:"text" help:"Format of the log lines on standard error: text or json."`
	LogLevel  string `reload:"" group:"Logging" default:"info" help:"Least severe lines to log: debug, info, warn or error."`

	sources
}

// serviceTypeNames returns the foreign protocols that can be enabled.
func serviceTypeNames() []string { return []string{"echo", "fleet", "socketio", "team"} }

// Level is LogLevel for slog; [slog.LevelInfo] where it is not one of the four.
func (s *Serve) Level() slog.Level {
	for _, level := range []slog.Level{slog.LevelDebug, slog.LevelWarn, slog.LevelError} {
		if s.LogLevel == levelName(level) {
			return level
		}
	}
	return slog.LevelInfo
}
