package config

import (
	"time"

	"cloudidq/tasks"
)

// Modes of a token.
const (
	ModeStable        = "stable"         // getStableAccessToken with the AppSecret
	ModeLegacy        = "legacy"         // getAccessToken with the AppSecret
	ModeStatic        = "static"         // a token that somebody else renews
	ModeRemote        = "remote"         // a central token server
	ModeComponent     = "component"      // a third-party platform that the merchant has authorised
	ModeSidecar       = "sidecar"        // cloud hosting: a side-car adds the credential
	ModeCloudbaseFile = "cloudbase_file" // cloud hosting: a file holds the credential
)

// What [Calls.GroupBy] may be.
const (
	GroupByOpenID = "openid"
	GroupByApp    = "app"
)

// App is one mini program.
type App struct {
	// AppID is WeChat's id of the mini program: 1 to 64 letters, digits, - and _.
	AppID string `yaml:"appid" jsonschema:"required,pattern=^[A-Za-z0-9_-]{1\\,64}$"`
	Token Token  `yaml:"token" jsonschema:"required"`
	Calls `yaml:",inline"`
}

// Calls are the settings of an app's requests.
type Calls struct {
	// GroupBy says which cloudIDs share a request: openid, those of one user; app, those of all users, in requests that
	// carry no openid, which WeChat demands for sensitive data.
	GroupBy string `yaml:"group_by" default:"openid" oneof:"openid,app"`
	// BatchMax is how many cloudIDs go into one request at most. 1 to 100.
	BatchMax int `yaml:"batch_max" default:"20" min:"1" max:"100"`
	// BatchLinger is how long a request that is not full waits for more. 0s to 1s.
	BatchLinger time.Duration `yaml:"batch_linger" default:"5ms" min:"0s" max:"1s"`
	// MaxInFlight is how many requests of this app run at once in one process. 1 to 4096.
	MaxInFlight int `yaml:"max_in_flight" default:"64" min:"1" max:"4096"`
	// RatePerMinute is how many requests of this app all processes make together in any minute; 0 means no limit of
	// ours. 0 to 600000.
	RatePerMinute int `yaml:"rate_per_minute" default:"0" min:"0" max:"600000"`
	// Webhook is the endpoint for results whose task names none; without one they are only stored.
	Webhook string `yaml:"webhook,omitempty"`
}

// Token is how the access token of an app is had.
type Token struct {
	// Mode is stable or legacy (fetched with the AppSecret, from the new or the old endpoint), static (given), remote
	// (asked of a central token server), component (of a merchant who has authorised a third-party platform), sidecar or
	// cloudbase_file (in WeChat's cloud hosting).
	Mode string `yaml:"mode" oneof:"stable,legacy,static,remote,component,sidecar,cloudbase_file" jsonschema:"required"`
	// Secret is the AppSecret, for modes stable and legacy: env:NAME, file:PATH (from the folder of this file) or the
	// secret itself.
	Secret Secret `yaml:"secret,omitzero"`
	// AccessToken is the token of mode static: env:NAME, file:PATH (from the folder of this file) or the token itself.
	AccessToken Secret `yaml:"access_token,omitzero"`
	// URL is the token server of mode remote, which answers GET with {"access_token":"…","expires_in":7200}.
	URL URL `yaml:"url,omitempty"`
	// Header is what mode remote sends along, "Name: value": env:NAME, file:PATH or the line itself. With one, all
	// workers share a token; without, each asks for itself.
	Header Secret `yaml:"header,omitzero"`
	// Component is the appid of a platform under components, for mode component.
	Component string `yaml:"component,omitempty"`
	// RefreshToken is the merchant's authorizer_refresh_token, for mode component: env:NAME, file:PATH or the token
	// itself. It can be left out where WeChat's events bring it.
	RefreshToken Secret `yaml:"refresh_token,omitzero"`
	// FromAppID is the app whose users the cloudIDs belong to, for mode sidecar where the environment serves apps of
	// others.
	FromAppID string `yaml:"from_appid,omitempty"`
	// Path is the token file of mode cloudbase_file; without it /.tencentcloudbase/wx/cloudbase_access_token.
	Path string `yaml:"path,omitempty"`
}

// Component is a third-party platform. Every merchant's app that authorises it is served, as WeChat's events tell.
type Component struct {
	// AppID is WeChat's id of the platform.
	AppID string `yaml:"appid" jsonschema:"required,pattern=^[A-Za-z0-9_-]{1\\,64}$"`
	// Secret is the platform's AppSecret: env:NAME, file:PATH (from the folder of this file) or the secret itself.
	Secret Secret `yaml:"secret,omitzero" jsonschema:"required"`
	// VerifyToken is the token that signs WeChat's pushes: env:NAME, file:PATH or the token itself.
	VerifyToken Secret `yaml:"verify_token,omitzero" jsonschema:"required"`
	// AESKey is the key that encrypts WeChat's pushes, 43 characters: env:NAME, file:PATH or the key itself.
	AESKey Secret `yaml:"aes_key,omitzero" jsonschema:"required"`
	// Authorizers are the settings of merchants' apps that are not listed under apps.
	Authorizers Calls `yaml:"authorizers"`
}

// Serves reports whether an app is listed, or may be one of a platform's merchants: who those are, the worker knows.
func (c *Config) Serves(appid string) bool {
	_, listed := c.App(appid)
	return listed || len(c.Components) > 0 && tasks.ValidAppID(appid)
}

// App returns the settings of the app with this appid.
func (c *Config) App(appid string) (App, bool) {
	for _, app := range c.Apps {
		if app.AppID == appid {
			return app, true
		}
	}
	return App{}, false
}
