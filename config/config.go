// Package config reads, validates and prints the YAML configuration file of cloudidq. Environment
// variables override values of the file.
//
// [Load] reports all faults at once, each with its location ([Faults]). It does not resolve
// secrets, so a command that only enqueues or reads results runs without them. Other commands
// call [LoadSecrets]:
//
//	cfg, err := config.LoadSecrets(path, os.LookupEnv)
//	if err != nil {
//		return err // Faults, one per line; exit status 2
//	}
//
// An unknown key is a fault; it is never ignored.
//
// Loader, validation and schema share the struct tags: yaml is the key, default the value that
// applies if the setting is missing, min and max the inclusive bounds, oneof the accepted words,
// and why a reason that is appended to the error message. The comments of the fields become the
// descriptions in schema.json and in docs/configuration.md.
package config

import (
	"reflect"
	"time"
)

// The values of [Store.Driver].
const (
	DriverRedis    = "redis"
	DriverPostgres = "postgres"
)

// The values of [Store.Encryption].
const (
	EncryptionKeyset = "keyset"
	EncryptionOff    = "off"
)

// Config is the configuration of cloudidq: one YAML file, with overrides from the environment.
type Config struct {
	Redis  Redis  `yaml:"redis"`
	Store  Store  `yaml:"store" jsonschema:"required"`
	WeChat WeChat `yaml:"wechat"`
	// CloudIDLifetime is how long a cloudID may be sent to WeChat, counted from obtained_at. 1s to
	// 5m.
	CloudIDLifetime time.Duration `yaml:"cloudid_lifetime" default:"5m" min:"1s" max:"5m" why:"WeChat rejects a cloudID after 5 minutes"`
	// Apps are the mini programs whose cloudIDs are resolved. Each appid must be unique. At least
	// one app or component is required.
	Apps []App `yaml:"apps,omitempty"`
	// Components are third-party platforms, which call the API on behalf of the merchants that have
	// authorized them.
	Components []Component `yaml:"components,omitempty"`
	// Webhooks are the endpoints that results are delivered to.
	Webhooks []Webhook `yaml:"webhooks,omitempty"`
	Queues   Queues    `yaml:"queues"`
	Worker   Worker    `yaml:"worker"`
	API      API       `yaml:"api"`
	Ops      Ops       `yaml:"ops"`
	Log      Log       `yaml:"log"`

	origin origin // where the values came from, for the location of a fault
}

// Redis is the server that holds the queues, and also the results if store.driver is redis.
type Redis struct {
	// URL is the address: redis://[user:password@]host[:6379][/db], rediss:// for the same over
	// TLS, redis-sentinel://[user:password@]h1[:26379],h2/mymaster[/db],
	// redis-cluster://[user:password@]h1[:6379],h2, or embedded. The value embedded starts a
	// temporary Redis inside the serve process; its data is lost when the process exits. With
	// embedded://127.0.0.1:PORT, other processes on the machine can reach that Redis by the same
	// URL. The user and the password are those of the data nodes, with reserved characters
	// percent-encoded.
	URL RedisURL `yaml:"url" default:"redis://127.0.0.1:6379/0"`
}

// Store is the storage of the results.
type Store struct {
	// Driver is the storage backend: redis (the server that holds the queues) or postgres.
	Driver string `yaml:"driver" default:"redis" oneof:"redis,postgres"`
	// DSN is the PostgreSQL database of driver postgres, such as
	// postgres://user:password@host:5432/database. By default a process opens up to 10 connections;
	// to change that, add pool_max_conns=N to the query. Given as env:NAME, file:PATH (relative to
	// the folder of this file) or the DSN itself.
	DSN Secret `yaml:"dsn,omitzero"`
	// ResultTTL is how long a result can be read. 1m to 720h (30 days), and not less than
	// cloudid_lifetime; otherwise a cloudID could be resolved twice.
	ResultTTL time.Duration `yaml:"result_ttl" default:"24h" min:"1m" max:"720h"`
	// Encryption is keyset, which seals results with the keyset, or off. Results contain phone
	// numbers, so encryption must be turned off explicitly.
	Encryption string `yaml:"encryption" default:"keyset" oneof:"keyset,off"`
	// Keyset is the JSON that cloudidq keys prints. Required unless encryption is off. Given as
	// env:NAME, file:PATH (relative to the folder of this file) or the JSON itself.
	Keyset Secret `yaml:"keyset,omitzero"`
}

// WeChat is the server-side API of WeChat.
type WeChat struct {
	// BaseURL is the origin of the API, with a path if a gateway requires one. The scheme must be
	// https. http is allowed only for loopback addresses, because the query contains the access
	// token.
	BaseURL URL `yaml:"base_url" default:"https://api.weixin.qq.com"`
	// Timeout is the time limit of one HTTP request. 100ms to 15s.
	Timeout time.Duration `yaml:"timeout" default:"5s" min:"100ms" max:"15s" why:"an attempt at a task, including its repeated requests, must finish within a minute"`
}

// Queues are the shares of worker.concurrency, so that one queue cannot occupy the slots of
// another.
type Queues struct {
	// Events is the share of cloudIDs that a user has just produced. 1 to 100.
	Events int `yaml:"events" default:"6" min:"1" max:"100"`
	// Backfill is the share of cloudIDs from files. 1 to 100.
	Backfill int `yaml:"backfill" default:"1" min:"1" max:"100"`
	// Webhooks is the share of deliveries. A worker without webhooks gives it to the other queues.
	// 1 to 100.
	Webhooks int `yaml:"webhooks" default:"3" min:"1" max:"100"`
}

// Worker configures a worker process.
type Worker struct {
	// Concurrency is the number of tasks that run at once. 1 to 4096.
	Concurrency int `yaml:"concurrency" default:"64" min:"1" max:"4096"`
	// Fetchers is the number of goroutines that dequeue tasks from each queue. 1 to 16.
	Fetchers int `yaml:"fetchers" default:"2" min:"1" max:"16"`
	// ShutdownTimeout is how long a stopping worker waits for its tasks to finish before it
	// requeues them. 1s to 10m.
	ShutdownTimeout time.Duration `yaml:"shutdown_timeout" default:"20s" min:"1s" max:"10m"`
}

// OpsOff is the value of ops.listen that turns the listener off.
const OpsOff = "off"

// Ops is the listener for operators: /healthz, /readyz and /metrics.
type Ops struct {
	// Listen is host:port, or off. Each process on a machine needs its own port. Port 0 selects a
	// free port, which is logged. The listener does not require a key: everyone who can reach it
	// can read the metrics, which contain no personal data. On a loopback address it only answers
	// requests for loopback names, so that web pages cannot reach it through DNS rebinding.
	Listen string `yaml:"listen" default:"127.0.0.1:9090"`
}

// Log configures the log, which goes to standard error.
type Log struct {
	// Level is the minimum level of the messages.
	Level string `yaml:"level" default:"info" oneof:"debug,info,warn,error"`
	// Format is json (one object per line) or text.
	Format string `yaml:"format" default:"json" oneof:"json,text"`
}

// Default returns the configuration of an empty file. It is not valid yet: it has neither apps nor
// a keyset.
func Default() *Config {
	c := &Config{}
	setDefaults(reflect.ValueOf(c).Elem())
	return c
}
