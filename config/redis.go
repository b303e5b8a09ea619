package config

import (
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"cloudidq/internal/secret"
)

// ErrEmbedded is the error of [Redis.Open] for the URL "embedded". That server runs inside of
// the serving process on a port of its own choice, so no other process can reach it.
var ErrEmbedded = errors.New("redis.url is embedded: the process has to start it")

const embedded = "embedded"

// embeddedTimeout bounds an answer of the embedded server.
const embeddedTimeout = time.Minute

// Embedded reports whether the server runs inside of the serving process.
func (r Redis) Embedded() bool {
	return r.URL == embedded || strings.HasPrefix(string(r.URL), embedded+"://")
}

// EmbeddedAt returns the host:port at which the embedded server listens. For the URL
// embedded://HOST:PORT it is HOST:PORT, and other processes of this machine can use the same
// URL. For "embedded" it is 127.0.0.1:0, a free port.
func (r Redis) EmbeddedAt() string {
	if a, err := parseRedisURL(string(r.URL)); err == nil && a.scheme == embedded {
		return a.hosts[0]
	}
	return "127.0.0.1:0"
}

// Open returns a client. The client connects with its first command, and the caller closes it.
// maxRetries is how often a command is repeated after a network error: 0 means go-redis's
// default (3), -1 means never. The asynq servers need -1, because a repeated dequeue orphans
// tasks. A canceled context ends its command.
//
// The client does not send CLIENT SETINFO and does not request maintenance notifications,
// because older servers and proxies answer them with errors.
func (r Redis) Open(maxRetries int) (redis.UniversalClient, error) {
	if r.URL == embedded {
		return nil, ErrEmbedded
	}
	a, err := parseRedisURL(string(r.URL))
	if err != nil {
		return nil, fmt.Errorf("redis.url %w", err)
	}
	options := redis.UniversalOptions{
		Addrs:                 a.hosts,
		Username:              a.user,
		Password:              a.password,
		DB:                    a.db,
		MasterName:            a.master,
		MaxRetries:            maxRetries,
		ContextTimeoutEnabled: true,
		// One connection for each of the 64 tasks of a default worker, even on small machines.
		// More tasks can share these connections, because each round trip holds one only
		// briefly.
		PoolSize:        max(64, 10*runtime.GOMAXPROCS(0)),
		DisableIdentity: true,
		MaintNotificationsConfig: &maintnotifications.Config{
			Mode: maintnotifications.ModeDisabled,
		},
	}
	switch a.scheme {
	case embedded:
		// This server shares the processors with everything else in the process. On a busy machine
		// an answer may take longer than go-redis's default of three seconds.
		options.ReadTimeout, options.WriteTimeout, options.PoolTimeout = embeddedTimeout, embeddedTimeout, embeddedTimeout
	case "redis-sentinel":
		return redis.NewFailoverClient(options.Failover()), nil
	case "redis-cluster":
		if maxRetries < 0 {
			// go-redis counts a repetition after a network error as a redirect (v9.23.0
			// osscluster.go:1507-1595). Without redirects, a MOVED fails one command. It also
			// reloads the slots, so the next command goes to the right node.
			options.MaxRedirects = -1
		}
		return redis.NewClusterClient(options.Cluster()), nil
	case "rediss":
		host, _, _ := net.SplitHostPort(a.hosts[0]) // parseRedisURL joined it
		options.TLSConfig = &tls.Config{ServerName: host, MinVersion: tls.VersionTLS12}
	}
	return redis.NewClient(options.Simple()), nil
}

// RedisURL is the address of a Redis. It may contain a password, which is omitted when it is
// printed. string(u) returns the complete address.
type RedisURL string

// String returns the address with its password redacted. If the address is invalid, all of it is
// redacted.
func (u RedisURL) String() string {
	if u == "" || u == embedded {
		return string(u)
	}
	if _, err := parseRedisURL(string(u)); err != nil {
		return secret.Redacted
	}
	at := strings.LastIndex(string(u), "@")
	if at < 0 {
		return string(u)
	}
	// The last @ ends the password, which may contain others.
	scheme, rest, _ := strings.Cut(string(u)[:at], "://")
	user, _, _ := strings.Cut(rest, ":")
	return scheme + "://" + user + ":" + secret.Redacted + string(u)[at:]
}

// Format implements [fmt.Formatter], so that no verb and no flag prints the password.
func (u RedisURL) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, u.String()) }

// LogValue implements [slog.LogValuer].
func (u RedisURL) LogValue() slog.Value { return slog.StringValue(u.String()) }

// MarshalJSON implements [json.Marshaler].
func (u RedisURL) MarshalJSON() ([]byte, error) { return json.Marshal(u.String()) }

// MarshalYAML implements goccy/go-yaml's InterfaceMarshaler.
func (u RedisURL) MarshalYAML() (any, error) { return u.String(), nil }

// redisAddress is a parsed [RedisURL].
type redisAddress struct {
	scheme         string
	user, password string
	hosts          []string // host:port
	master         string   // for sentinels only
	db             int
}

var (
	redisPorts = map[string]string{
		"redis": "6379", "rediss": "6379", "redis-sentinel": "26379", "redis-cluster": "6379", embedded: "6379",
	}
	hostName   = regexp.MustCompile(`^[A-Za-z0-9._-]+$`)
	masterName = regexp.MustCompile(`^[A-Za-z0-9._-]+$`)
)

// parseRedisURL parses every form except "embedded". It does not use net/url, which does not
// support lists of hosts and whose errors quote the password. The errors of this function quote
// nothing.
func parseRedisURL(text string) (redisAddress, error) {
	scheme, rest, ok := strings.Cut(text, "://")
	port, known := redisPorts[scheme]
	if !ok || !known {
		return redisAddress{}, errors.New(
			"must begin with redis://, rediss://, redis-sentinel:// or redis-cluster://, or be embedded")
	}
	a := redisAddress{scheme: scheme}
	if at := strings.LastIndex(rest, "@"); at >= 0 {
		var err error
		if a.user, a.password, err = parseUser(rest[:at]); err != nil {
			return redisAddress{}, err
		}
		rest = rest[at+1:]
	}
	if strings.ContainsAny(rest, "?#") {
		return redisAddress{}, errors.New("must not have parameters after ? or #")
	}
	hosts, path, _ := strings.Cut(rest, "/")
	for host := range strings.SplitSeq(hosts, ",") {
		full, err := parseHost(host, port)
		if err != nil {
			return redisAddress{}, err
		}
		a.hosts = append(a.hosts, full)
	}
	if len(a.hosts) > 1 && scheme != "redis-sentinel" && scheme != "redis-cluster" {
		return redisAddress{}, errors.New(
			"must name one host; only redis-sentinel:// and redis-cluster:// accept several")
	}
	if scheme == embedded && (!a.onThisMachine() || a.password != "" || path != "") {
		return redisAddress{}, errors.New("must be embedded or embedded://127.0.0.1:PORT, " +
			"with a loopback address and without password and database")
	}
	return a, a.parsePath(path)
}

func (a *redisAddress) onThisMachine() bool {
	host, _, _ := net.SplitHostPort(a.hosts[0]) // parseHost joined it
	return isLoopback(host)
}

// parseUser parses "user:password" with percent-encoding. The user may be empty.
func parseUser(text string) (user, password string, err error) {
	user, password, ok := strings.Cut(text, ":")
	if !ok || password == "" {
		return "", "", errors.New("must be user:password@ or :password@ before the host")
	}
	for _, part := range []*string{&user, &password} {
		if *part, err = url.PathUnescape(*part); err != nil {
			return "", "", errors.New("has a % in user or password that is not percent-encoding (write %25)")
		}
	}
	return user, password, nil
}

// parseHost parses a host with an optional port and returns host:port.
func parseHost(text, defaultPort string) (string, error) {
	host, port := text, defaultPort
	if bare, ok := strings.CutSuffix(text, "]"); ok && strings.HasPrefix(bare, "[") {
		host = bare[1:]
	} else if strings.Contains(text, ":") {
		var err error
		if host, port, err = net.SplitHostPort(text); err != nil {
			return "", errors.New("has a host that is not host or host:port")
		}
	}
	if _, err := netip.ParseAddr(host); err != nil && !hostName.MatchString(host) {
		return "", errors.New("has a host that is neither a name nor an address")
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return "", errors.New("has a port that is not between 1 and 65535")
	}
	return net.JoinHostPort(host, port), nil
}

// parsePath parses the text after the hosts: the master's name for sentinels, and the database
// number.
func (a *redisAddress) parsePath(path string) error {
	db := path
	switch a.scheme {
	case "redis-cluster":
		if path != "" {
			return errors.New("must end after the hosts; a cluster has no databases")
		}
	case "redis-sentinel":
		a.master, db, _ = strings.Cut(path, "/")
		if !masterName.MatchString(a.master) {
			return errors.New("must name the master after the hosts, as in redis-sentinel://h1:26379,h2:26379/mymaster")
		}
	}
	if db == "" {
		return nil
	}
	n, err := strconv.ParseUint(db, 10, 16)
	if err != nil {
		return errors.New("must end with the number of a database")
	}
	a.db = int(n)
	return nil
}
