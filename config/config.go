// Package config is the one YAML file of cloudidq: it reads it, lays the environment over it, checks it and prints it.
//
// [Load] reports every fault at once, each with its place ([Faults]), and leaves the secrets alone: a command that only
// enqueues or reads results runs where no secret is at hand. The others call [LoadSecrets]:
//
//	cfg, err := config.LoadSecrets(path, os.LookupEnv)
//	if err != nil {
//		return err // Faults, one a line; exit status 2
//	}
//
// Every setting here is obeyed by the program; a key that it does not know is refused, never ignored.
//
// The struct tags are the one table of the settings, which loader, validation and schema share: yaml is the key, env
// the variable, default the value without either, min and max the bounds (both included), oneof the words that are
// taken, why a clause for the message. The comments below are the descriptions in the schema.
package config

import (
	"reflect"
	"time"
)

// What [Store.Driver] may be.
const (
	DriverRedis    = "redis"
	DriverPostgres = "postgres"
)

// What [Store.Encryption] may be.
const (
	EncryptionKeyset = "keyset"
	EncryptionOff    = "off"
)

// Config is the configuration of cloudidq: one YAML file, which the environment overrides.
type Config struct {
	Redis  Redis  `yaml:"redis"`
	Store  Store  `yaml:"store" jsonschema:"required"`
	WeChat WeChat `yaml:"wechat"`
	// CloudIDLifetime is how long a cloudID is worth a request, counted from obtained_at. 1s to 5m.
	CloudIDLifetime time.Duration `yaml:"cloudid_lifetime" default:"5m" min:"1s" max:"5m" why:"WeChat ends a cloudID after 5 minutes"`
	// Apps are the mini programs whose cloudIDs are resolved, each appid once. At least one app or component is needed.
	Apps []App `yaml:"apps,omitempty"`
	// Components are third-party platforms, which call for the merchants who have authorised them.
	Components []Component `yaml:"components,omitempty"`
	// Webhooks are endpoints that results are delivered to.
	Webhooks []Webhook `yaml:"webhooks,omitempty"`
	Queues   Queues    `yaml:"queues"`
	Worker   Worker    `yaml:"worker"`
	API      API       `yaml:"api"`
	Ops      Ops       `yaml:"ops"`
	Log      Log       `yaml:"log"`

	origin origin // where the values came from, for the place of a fault
}

// Redis is the server that holds the queues, and the results with store.driver redis.
type Redis struct {
	// URL is redis://[user:password@]host[:6379][/db], rediss:// for the same over TLS,
	// redis-sentinel://[user:password@]h1[:26379],h2/mymaster[/db], redis-cluster://[user:password@]h1[:6379],h2, or
	// embedded, a Redis inside the process of serve, for trying out, which ends with it; embedded://127.0.0.1:PORT is one
	// that other processes of the machine reach by the same URL. User and password are those of the data nodes, with
	// reserved characters percent-encoded.
	URL RedisURL `yaml:"url" default:"redis://127.0.0.1:6379/0"`
}

// Store is where the results are kept.
type Store struct {
	// Driver is the kind of store: redis, beside the queues, or postgres.
	Driver string `yaml:"driver" default:"redis" oneof:"redis,postgres"`
	// DSN is the PostgreSQL database of driver postgres, such as postgres://user:password@host:5432/database, with
	// pool_max_conns=N in its query for another number of connections than 10 per process: env:NAME, file:PATH (from the
	// folder of this file) or the DSN itself.
	DSN Secret `yaml:"dsn,omitzero"`
	// ResultTTL is how long a result can be read. 1m to 720h (30 days), and not less than cloudid_lifetime, or a
	// cloudID could be asked for a second time.
	ResultTTL time.Duration `yaml:"result_ttl" default:"24h" min:"1m" max:"720h"`
	// Encryption says whether results are sealed: with the keyset, or off, which has to be said, since results hold phone
	// numbers.
	Encryption string `yaml:"encryption" default:"keyset" oneof:"keyset,off"`
	// Keyset is the JSON that cloudidq keys prints: env:NAME, file:PATH (from the folder of this file) or the JSON itself.
	// It is needed unless encryption is off.
	Keyset Secret `yaml:"keyset,omitzero"`
}

// WeChat is how the server-side API of WeChat is reached.
type WeChat struct {
	// BaseURL is the origin of the API, with a path if a gateway needs one. https; http for loopback addresses only,
	// because the access token travels in the query.
	BaseURL URL `yaml:"base_url" default:"https://api.weixin.qq.com"`
	// Timeout limits one HTTP attempt. 100ms to 15s.
	Timeout time.Duration `yaml:"timeout" default:"5s" min:"100ms" max:"15s" why:"a try of a task, with its repeated requests, must end within a minute"`
}

// Queues are the shares of worker.concurrency, so that one queue cannot take the slots of another.
type Queues struct {
	// Events is the share of the cloudIDs that a user has just produced. 1 to 100.
	Events int `yaml:"events" default:"6" min:"1" max:"100"`
	// Backfill is the share of the cloudIDs from files. 1 to 100.
	Backfill int `yaml:"backfill" default:"1" min:"1" max:"100"`
	// Webhooks is the share of deliveries; a worker without webhooks leaves it to the others. 1 to 100.
	Webhooks int `yaml:"webhooks" default:"3" min:"1" max:"100"`
}

// Worker is how one worker process works.
type Worker struct {
	// Concurrency is how many tasks are handled at once. 1 to 4096.
	Concurrency int `yaml:"concurrency" default:"64" min:"1" max:"4096"`
	// Fetchers is how many loops take tasks from each queue. 1 to 16.
	Fetchers int `yaml:"fetchers" default:"2" min:"1" max:"16"`
	// ShutdownTimeout is how long a stopping worker lets its tasks finish before it gives them back. 1s to 10m.
	ShutdownTimeout time.Duration `yaml:"shutdown_timeout" default:"20s" min:"1s" max:"10m"`
}

// OpsOff is the value of ops.listen without a listener.
const OpsOff = "off"

// Ops is the listener for those who operate a process: /healthz, /readyz and /metrics.
type Ops struct {
	// Listen is host:port, or off. Every process of a machine needs a port of its own; port 0 takes a free one and says
	// which in the log. There are no keys: whoever reaches it sees the metrics, which hold no personal data. On a loopback
	// address it answers requests for loopback names only, so that no web page reaches it by a name of its own.
	Listen string `yaml:"listen" default:"127.0.0.1:9090"`
}

// Log is what is written to standard error.
type Log struct {
	// Level is the least level that is written.
	Level string `yaml:"level" default:"info" oneof:"debug,info,warn,error"`
	// Format is json, one object a line, or text.
	Format string `yaml:"format" default:"json" oneof:"json,text"`
}

// Default returns the configuration of an empty file. It has no apps and does not say store.encryption, so it is not
// valid yet.
func Default() *Config {
	c := &Config{}
	setDefaults(reflect.ValueOf(c).Elem())
	return c
}
