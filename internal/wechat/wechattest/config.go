package wechattest

import (
	"errors"
	"fmt"
	"time"
)

// Defaults of [Config].
const (
	// DefaultUsers is the number of users that /sim/cloudids plays.
	DefaultUsers = 1000
	// DefaultLifetime is the lifetime that WeChat documents for a cloudID
	// (developers.weixin.qq.com/miniprogram/dev/framework/open-ability/signature.html).
	DefaultLifetime = 5 * time.Minute
	// DefaultTokenTTL is the lifetime that WeChat documents for an access token
	// (developers.weixin.qq.com/doc/service/api/base/api_getstableaccesstoken).
	DefaultTokenTTL = 2 * time.Hour
)

// Config defines the behavior of a [Simulator]. The zero value is fast and has no faults.
type Config struct {
	// Seed determines cloudIDs, openids, tokens, data and faults. Simulators with the same seed
	// agree on all of them.
	Seed uint64
	// Users is the number of users that /sim/cloudids plays; 0 means DefaultUsers. CloudID
	// accepts any user.
	Users int
	// Latency is the time between the arrival of a request and its answer.
	Latency time.Duration
	// Lifetime of a cloudID; 0 means DefaultLifetime.
	Lifetime time.Duration
	// Faults is the probability of each fault; nil means no faults.
	Faults Faults
	// MaxBatch is the maximum length of a cloudid_list; a longer one gets 40097. 0 means no
	// limit. WeChat documents none.
	MaxBatch int
	// Secret is the AppSecret that stable_token and the legacy token endpoint require of every
	// app; if it is empty, any secret is accepted.
	Secret string
	// TokenTTL is the lifetime of an access token; 0 means DefaultTokenTTL.
	TokenTTL time.Duration
	// SidecarAppID makes the simulator the side-car of cloud hosting for this app. It accepts
	// calls without a token as calls of the app, or of the app in from_appid, and refuses calls
	// with a token. Empty means no side-car.
	SidecarAppID string
	// SidecarAfter is how long the side-car takes to start. Until then it answers 41001.
	SidecarAfter time.Duration
	// CloudbaseTTL is the lifetime of a token of CloudbaseToken; 0 means DefaultCloudbaseTTL.
	CloudbaseTTL time.Duration
	// Components are the registered third-party platforms.
	Components []Component
	// DailyLimit is how many requests of an app are answered before 45009; 0 means no limit.
	DailyLimit int64
	// NoLedger saves about 60 bytes of memory per cloudID in load runs. Sent and Entry then
	// return zero values, and after_resolved is not counted. Transient faults then depend on the
	// number of requests instead of the times a cloudID was seen, so they differ from run to
	// run.
	NoLedger bool
	// Now is the clock; nil means time.Now. Latency always passes in real time.
	Now func() time.Time
}

// validate returns an error that lists every fault of c.
func (c Config) validate() error {
	var faults []error
	negative := func(name string, bad bool, value any) {
		if bad {
			faults = append(faults, fmt.Errorf("%s is %v, want 0 or more", name, value))
		}
	}
	negative("Users", c.Users < 0, c.Users)
	negative("Latency", c.Latency < 0, c.Latency)
	negative("Lifetime", c.Lifetime < 0, c.Lifetime)
	negative("MaxBatch", c.MaxBatch < 0, c.MaxBatch)
	negative("TokenTTL", c.TokenTTL < 0, c.TokenTTL)
	negative("SidecarAfter", c.SidecarAfter < 0, c.SidecarAfter)
	negative("CloudbaseTTL", c.CloudbaseTTL < 0, c.CloudbaseTTL)
	negative("DailyLimit", c.DailyLimit < 0, c.DailyLimit)
	return errors.Join(append(faults, c.Faults.validate())...)
}

// withDefaults returns c with defaults for its zero values.
func (c Config) withDefaults() Config {
	if c.Users == 0 {
		c.Users = DefaultUsers
	}
	if c.Lifetime == 0 {
		c.Lifetime = DefaultLifetime
	}
	if c.TokenTTL == 0 {
		c.TokenTTL = DefaultTokenTTL
	}
	if c.CloudbaseTTL == 0 {
		c.CloudbaseTTL = DefaultCloudbaseTTL
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return c
}
