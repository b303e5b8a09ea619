package wechattest

import (
	"errors"
	"fmt"
	"time"
)

// Defaults of [Config].
const (
	// DefaultUsers is how many users the front end of /sim/cloudids has.
	DefaultUsers = 1000
	// DefaultLifetime is what WeChat documents for a cloudID
	// (developers.weixin.qq.com/miniprogram/dev/framework/open-ability/signature.html).
	DefaultLifetime = 5 * time.Minute
	// DefaultTokenTTL is what WeChat documents for an access token
	// (developers.weixin.qq.com/doc/service/api/base/api_getstableaccesstoken).
	DefaultTokenTTL = 2 * time.Hour
)

// Config says which WeChat a [Simulator] plays. The zero value is a fast and faultless one.
type Config struct {
	// Seed decides cloudIDs, openids, tokens, data and faults. Two simulators of one seed agree on all of them.
	Seed uint64
	// Users is how many users /sim/cloudids plays; 0 means DefaultUsers. CloudID takes any user.
	Users int
	// Latency passes between the arrival of a request and its answer.
	Latency time.Duration
	// Lifetime of a cloudID; 0 means DefaultLifetime.
	Lifetime time.Duration
	// Faults is how often what goes wrong; nil means never.
	Faults Faults
	// MaxBatch is the longest cloudid_list that is not answered 40097; 0 means no limit. WeChat documents none.
	MaxBatch int
	// Secret is the AppSecret that stable_token demands of every app; empty means that any will do.
	Secret string
	// TokenTTL is the life of an access token; 0 means DefaultTokenTTL.
	TokenTTL time.Duration
	// SidecarAppID makes the simulator the side-car of cloud hosting for this app: calls without a token are taken as the
	// app's, or as those of the app in from_appid, and those with one are refused. Empty = no side-car.
	SidecarAppID string
	// SidecarAfter is how long the side-car is still starting, and answers 41001.
	SidecarAfter time.Duration
	// CloudbaseTTL is the life of a token of CloudbaseToken; 0 means DefaultCloudbaseTTL.
	CloudbaseTTL time.Duration
	// Components are the third-party platforms that exist.
	Components []Component
	// DailyLimit is how many requests of an app are answered before 45009; 0 means no limit.
	DailyLimit int64
	// NoLedger saves the memory of about 60 bytes per cloudID in load runs. Sent and Entry then know nothing, no
	// after_resolved is noticed, and transient faults hang on the count of requests instead of the times a cloudID was
	// seen, so they are no longer the same in every run.
	NoLedger bool
	// Now is the clock; nil means time.Now. Latency passes in real time all the same.
	Now func() time.Time
}

// validate reports every fault of c at once.
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

// withDefaults returns c with its zero values filled in.
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
