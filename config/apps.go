package config

import (
	"time"

	"cloudidq/tasks"
)

// The values of [Token.Mode].
const (
	ModeStable        = "stable"         // the AppSecret fetches it from getStableAccessToken
	ModeLegacy        = "legacy"         // the AppSecret fetches it from getAccessToken
	ModeStatic        = "static"         // another program renews the token
	ModeRemote        = "remote"         // a central token server
	ModeComponent     = "component"      // a third-party platform that the merchant has authorized
	ModeSidecar       = "sidecar"        // cloud hosting: a sidecar adds the credential
	ModeCloudbaseFile = "cloudbase_file" // cloud hosting: a file contains the credential
)

// The values of [Calls.GroupBy].
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

// Calls are the settings of the requests of an app.
type Calls struct {
	// GroupBy is how cloudIDs are grouped into requests. With openid, the cloudIDs of a request
	// belong to one user. With app, they can belong to several users, and the request contains no
	// openid; WeChat requires an openid for sensitive data.
	GroupBy string `yaml:"group_by" default:"openid" oneof:"openid,app"`
	// BatchMax is the maximum number of cloudIDs per request. 1 to 100.
	BatchMax int `yaml:"batch_max" default:"20" min:"1" max:"100"`
	// BatchLinger is how long an incomplete batch waits for more cloudIDs. 0s to 1s.
	BatchLinger time.Duration `yaml:"batch_linger" default:"5ms" min:"0s" max:"1s"`
	// MaxInFlight is the maximum number of concurrent requests of this app per process. 1 to 4096.
	MaxInFlight int `yaml:"max_in_flight" default:"64" min:"1" max:"4096"`
	// RatePerMinute is the maximum number of requests of this app in any minute, counted over all
	// processes; 0 means no limit. 0 to 600000.
	RatePerMinute int `yaml:"rate_per_minute" default:"0" min:"0" max:"600000"`
	// Webhook is the default endpoint for results, used if the task names none. Without an
	// endpoint, results are only stored.
	Webhook string `yaml:"webhook,omitempty"`
}

// Token configures how the access token of an app is obtained.
type Token struct {
	// Mode is the source of the token: stable or legacy (fetched with the AppSecret from the new or
	// the old endpoint), static (set here), remote (fetched from a central token server), component
	// (the token of a merchant that has authorized a third-party platform), sidecar or
	// cloudbase_file (WeChat's cloud hosting).
	Mode string `yaml:"mode" oneof:"stable,legacy,static,remote,component,sidecar,cloudbase_file" jsonschema:"required"`
	// Secret is the AppSecret of modes stable and legacy. Given as env:NAME, file:PATH (relative to
	// the folder of this file) or the secret itself.
	Secret Secret `yaml:"secret,omitzero"`
	// AccessToken is the token of mode static. Given as env:NAME, file:PATH (relative to the folder
	// of this file) or the token itself.
	AccessToken Secret `yaml:"access_token,omitzero"`
	// URL is the token server of mode remote. It answers GET with
	// {"access_token":"…","expires_in":7200}.
	URL URL `yaml:"url,omitempty"`
	// Header is a header line, "Name: value", for the requests of mode remote. With a header, all
	// workers share one token; without one, each worker fetches its own. Given as env:NAME,
	// file:PATH or the line itself.
	Header Secret `yaml:"header,omitzero"`
	// Component is the appid of a platform listed under components, for mode component.
	Component string `yaml:"component,omitempty"`
	// RefreshToken is the merchant's authorizer_refresh_token, for mode component. Optional if
	// WeChat's events supply it. Given as env:NAME, file:PATH or the token itself.
	RefreshToken Secret `yaml:"refresh_token,omitzero"`
	// FromAppID is the app whose users the cloudIDs belong to, for mode sidecar if the environment
	// serves apps of other accounts.
	FromAppID string `yaml:"from_appid,omitempty"`
	// Path is the token file of mode cloudbase_file. If it is not set, the file is
	// /.tencentcloudbase/wx/cloudbase_access_token.
	Path string `yaml:"path,omitempty"`
}

// Component is a third-party platform. The apps of all merchants that authorize it are served;
// WeChat reports authorizations through events.
type Component struct {
	// AppID is WeChat's id of the platform.
	AppID string `yaml:"appid" jsonschema:"required,pattern=^[A-Za-z0-9_-]{1\\,64}$"`
	// Secret is the platform's AppSecret. Given as env:NAME, file:PATH (relative to the folder of
	// this file) or the secret itself.
	Secret Secret `yaml:"secret,omitzero" jsonschema:"required"`
	// VerifyToken is the token that signs WeChat's pushes. Given as env:NAME, file:PATH or the
	// token itself.
	VerifyToken Secret `yaml:"verify_token,omitzero" jsonschema:"required"`
	// AESKey is the key of 43 characters that encrypts WeChat's pushes. Given as env:NAME,
	// file:PATH or the key itself.
	AESKey Secret `yaml:"aes_key,omitzero" jsonschema:"required"`
	// Authorizers are the settings of merchants' apps that are not listed under apps.
	Authorizers Calls `yaml:"authorizers"`
}

// Serves reports whether an app is listed or may belong to a merchant of a platform. Only the
// worker knows which merchants have authorized a platform.
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
