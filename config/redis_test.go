package config_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"

	"cloudidq/config"
)

func TestRedis_Open(t *testing.T) {
	t.Parallel()
	type target struct {
		Kind           string
		Addrs          []string
		User, Password string
		DB             int
		TLS            string
	}
	one := func(addr string) target { return target{Kind: "one", Addrs: []string{addr}} }
	for url, want := range map[config.RedisURL]target{
		"redis://127.0.0.1:6379/0": one("127.0.0.1:6379"),
		"redis://redis":            one("redis:6379"),
		"redis://redis/":           one("redis:6379"),
		"redis://[::1]:6380":       one("[::1]:6380"),
		"redis://[::1]/2":          {Kind: "one", Addrs: []string{"[::1]:6379"}, DB: 2},
		"redis://:p%40ss@r_1:1/15": {Kind: "one", Addrs: []string{"r_1:1"}, Password: "p@ss", DB: 15},
		"redis://us%3Aer:p/w@h":    {Kind: "one", Addrs: []string{"h:6379"}, User: "us:er", Password: "p/w"},
		"rediss://u:p@h.example":   {Kind: "one", Addrs: []string{"h.example:6379"}, User: "u", Password: "p", TLS: "h.example"},
		"redis-sentinel://h1:1,h2/mymaster": {
			Kind: "sentinel", Addrs: []string{"FailoverClient"}},
		"redis-sentinel://u:p@h1:26379,h2:26379/mymaster/3": {
			Kind: "sentinel", Addrs: []string{"FailoverClient"}, User: "u", Password: "p", DB: 3},
		"redis-cluster://h1:7000,h2:7001":     {Kind: "cluster", Addrs: []string{"h1:7000", "h2:7001"}},
		"redis-cluster://u:p@h1,[::1]:7001/":  {Kind: "cluster", Addrs: []string{"h1:6379", "[::1]:7001"}, User: "u", Password: "p"},
		"redis-cluster://configuration.local": {Kind: "cluster", Addrs: []string{"configuration.local:6379"}},
	} {
		load(t, with("redis: {url: '"+string(url)+"'}\n"), nil)
		client, err := config.Redis{URL: url}.Open(-1)
		if err != nil {
			t.Errorf("Open(%s) = %v", string(url), err)
			continue
		}
		var got target
		switch c := client.(type) {
		case *redis.Client:
			o := c.Options()
			got = target{Kind: "one", Addrs: []string{o.Addr}, User: o.Username, Password: o.Password, DB: o.DB}
			if o.Addr == "FailoverClient" {
				got.Kind = "sentinel"
			}
			if o.TLSConfig != nil {
				got.TLS = o.TLSConfig.ServerName
			}
			if o.PoolSize < 64 || !o.ContextTimeoutEnabled || !o.DisableIdentity || o.MaxRetries != 0 { // -1 reads back as 0
				t.Errorf("Open(%s): options = %+v", string(url), o)
			}
		case *redis.ClusterClient:
			o := c.Options()
			got = target{Kind: "cluster", Addrs: o.Addrs, User: o.Username, Password: o.Password}
			if o.PoolSize < 64 || !o.ContextTimeoutEnabled || !o.DisableIdentity || o.MaxRetries != -1 || o.MaxRedirects != 0 {
				t.Errorf("Open(%s): options = %+v", string(url), o)
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("Open(%s) differs (-want +got):\n%s", string(url), diff)
		}
		if err := client.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestRedis_Open_Embedded(t *testing.T) {
	t.Parallel()
	cfg := load(t, with("redis: {url: embedded}\n"), nil)
	if client, err := cfg.Redis.Open(0); !errors.Is(err, config.ErrEmbedded) || client != nil || !cfg.Redis.Embedded() {
		t.Errorf("Open() = %v, %v, want ErrEmbedded", client, err)
	}
	if at := cfg.Redis.EmbeddedAt(); at != "127.0.0.1:0" {
		t.Errorf("EmbeddedAt() = %s, want port 0", at)
	}
}

func TestRedis_Open_EmbeddedAt(t *testing.T) {
	t.Parallel()
	cfg := load(t, with("redis: {url: 'embedded://127.0.0.1:6390'}\n"), nil)
	client, err := cfg.Redis.Open(0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = client.Close() }()
	if at := cfg.Redis.EmbeddedAt(); at != "127.0.0.1:6390" || !cfg.Redis.Embedded() {
		t.Errorf("EmbeddedAt() = %s, Embedded() = %v", at, cfg.Redis.Embedded())
	}
	if addr := client.(*redis.Client).Options().Addr; addr != "127.0.0.1:6390" {
		t.Errorf("the client connects to %s", addr)
	}
}

func TestRedis_URL_Faults(t *testing.T) {
	t.Parallel()
	for url, want := range map[string]string{
		"":                              "must begin with redis://",
		"localhost:6379":                "must begin with redis://",
		"unix:///run/redis.sock":        "must begin with redis://",
		"REDIS://h":                     "must begin with redis://",
		"redis://":                      "has a host that is neither a name nor an address",
		"redis://:6379":                 "has a host that is neither a name nor an address",
		"redis://h h":                   "has a host that is neither a name nor an address",
		"redis://::1:6379":              "has a host that is not host or host:port",
		"redis://h:0":                   "has a port",
		"redis://h:65536":               "has a port",
		"redis://h:":                    "has a port",
		"redis://h/x":                   "must end with the number of a database",
		"redis://h/-1":                  "must end with the number of a database",
		"redis://h/0/1":                 "must end with the number of a database",
		"redis://h1,h2":                 "must name one host",
		"redis://user@h":                "must be user:password@",
		"redis://user:@h":               "must be user:password@",
		"redis://u:%zz@h":               "percent-encoding",
		"redis://h?pool_size=1":         "must not have parameters",
		"redis://h#0":                   "must not have parameters",
		"redis-sentinel://h1:1,h2:2":    "must name the master",
		"redis-sentinel://h1:1/":        "must name the master",
		"redis-sentinel://h1/master/x":  "must end with the number of a database",
		"redis-sentinel://h1,,h2/m":     "neither a name nor an address",
		"redis-cluster://h1:7000/1":     "must end after the hosts",
		"redis-cluster://h1:7000 ,h2:1": "has a port",
		"embedded://10.0.0.1:6390":      "must be embedded or embedded://127.0.0.1:PORT",
		"embedded://:pw@127.0.0.1:6390": "must be embedded or embedded://127.0.0.1:PORT",
		"embedded://127.0.0.1:6390/1":   "must be embedded or embedded://127.0.0.1:PORT",
		"embedded://127.0.0.1,[::1]":    "must name one host",
	} {
		const place = "cloudidq.yaml:1: redis.url: "
		if got := faults(t, with("redis: {url: '"+url+"'}\n"), nil); !strings.HasPrefix(got, place) || !strings.Contains(got, want) {
			t.Errorf("Load(%s) = %s, want %s", url, got, want)
		}
		if client, err := (config.Redis{URL: config.RedisURL(url)}).Open(0); err == nil || client != nil {
			t.Errorf("Open(%s) = %v, %v, want an error", url, client, err)
		}
	}
}

func TestRedisURL_String(t *testing.T) {
	t.Parallel()
	for url, want := range map[config.RedisURL]string{
		"embedded":                          "embedded",
		"redis://h:6379/0":                  "redis://h:6379/0",
		"redis://u:planted@h:6379/0":        "redis://u:[redacted]@h:6379/0",
		"rediss://:planted@h":               "rediss://:[redacted]@h",
		"redis://u:plan@ted:x/y@h":          "redis://u:[redacted]@h",
		"redis-sentinel://u:p@h1:1,h2:2/m":  "redis-sentinel://u:[redacted]@h1:1,h2:2/m",
		"redis-cluster://u:p@h1:7000,h2:70": "redis-cluster://u:[redacted]@h1:7000,h2:70",
		"u:planted@h":                       "[redacted]",
		"redis://planted@h":                 "[redacted]",
		"":                                  "",
	} {
		if got := url.String(); got != want {
			t.Errorf("String() = %s, want %s", got, want)
		}
	}
}

// A new connection sends HELLO or AUTH and SELECT, and no command that an older server rejects.
func TestRedis_Open_ConnectsQuietly(t *testing.T) {
	t.Parallel()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var seen []string
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			serving.Go(func() {
				defer func() { _ = conn.Close() }()
				answer(conn, func(command string) {
					mu.Lock()
					defer mu.Unlock()
					seen = append(seen, command)
				})
			})
		}
	})
	client, err := config.Redis{URL: config.RedisURL("redis://:" + planted + "@" + listener.Addr().String() + "/2")}.Open(-1)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := client.Ping(ctx).Err(); err != nil {
		t.Errorf("Ping() = %v", err)
	}
	_ = client.Close()
	_ = listener.Close()
	serving.Wait()
	for _, command := range seen {
		switch name, _, _ := strings.Cut(strings.ToUpper(command), " "); name {
		case "HELLO", "AUTH", "SELECT", "PING":
		default:
			t.Errorf("the client sent %s", name)
		}
	}
	if len(seen) < 3 {
		t.Errorf("the client sent %d commands, want at least AUTH, SELECT and PING", len(seen))
	}
}

// answer simulates Redis 5: it rejects HELLO and answers OK to every other command.
func answer(conn net.Conn, saw func(command string)) {
	r := bufio.NewReader(conn)
	for {
		var words, size int
		if _, err := fmt.Fscanf(r, "*%d\r\n", &words); err != nil {
			return
		}
		command := make([]string, words)
		for i := range command {
			if _, err := fmt.Fscanf(r, "$%d\r\n", &size); err != nil {
				return
			}
			word := make([]byte, size+2)
			if _, err := io.ReadFull(r, word); err != nil {
				return
			}
			command[i] = string(word[:size])
		}
		saw(strings.Join(command, " "))
		reply := "+OK\r\n"
		if strings.EqualFold(command[0], "HELLO") {
			reply = "-ERR unknown command 'HELLO'\r\n"
		}
		if _, err := io.WriteString(conn, reply); err != nil {
			return
		}
	}
}
