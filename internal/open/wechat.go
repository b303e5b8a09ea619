package open

import (
	"context"
	"fmt"

	"cloudidq/config"
	"cloudidq/internal/batch"
	"cloudidq/internal/coord"
	"cloudidq/internal/secret"
	"cloudidq/internal/wechat"
)

// Access is the client of WeChat with the sources of its credentials.
type Access struct {
	Client    *wechat.Client
	Platforms map[string]*wechat.Platform // by the component's appid
}

// WeChat creates the client and the platforms of the configuration for a command that runs
// once. tokens shares the access tokens with the workers. The caller closes the client.
func WeChat(cfg *config.Config, tokens *coord.Tokens) (*Access, error) {
	return openWeChat(cfg, tokens, Shared{})
}

// openWeChat is WeChat with the metrics and traces of a process.
func openWeChat(cfg *config.Config, tokens *coord.Tokens, shared Shared) (*Access, error) {
	settings := wechat.Config{
		BaseURL: string(cfg.WeChat.BaseURL), Timeout: cfg.WeChat.Timeout, MaxConns: connections(cfg), Tokens: tokens,
	}
	settings.Metrics, settings.Tracers = shared.WeChat, shared.Tracers
	client, err := wechat.New(settings)
	if err != nil {
		return nil, err
	}
	access := &Access{Client: client, Platforms: make(map[string]*wechat.Platform, len(cfg.Components))}
	for _, component := range cfg.Components {
		platform, err := client.Platform(component.AppID, component.Secret.Text())
		if err != nil {
			client.Close()
			return nil, fmt.Errorf("component %s: %w", component.AppID, err)
		}
		access.Platforms[component.AppID] = platform
	}
	return access, nil
}

// TokenSource returns the token source of an app of the configuration.
func (a *Access) TokenSource(app config.App) (wechat.TokenSource, error) {
	switch token := app.Token; token.Mode {
	case config.ModeStable:
		return a.Client.StableToken(app.AppID, token.Secret.Text()), nil
	case config.ModeLegacy:
		return a.Client.LegacyToken(app.AppID, token.Secret.Text()), nil
	case config.ModeStatic:
		return wechat.StaticToken(token.AccessToken.Text()), nil
	case config.ModeRemote:
		return a.Client.RemoteToken(app.AppID, string(token.URL), token.Header.Text())
	case config.ModeSidecar:
		return wechat.Sidecar(token.FromAppID), nil
	case config.ModeCloudbaseFile:
		path := token.Path
		if path == "" {
			path = wechat.CloudbaseTokenPath
		}
		return wechat.CloudbaseFile(path), nil
	case config.ModeComponent:
		if platform := a.Platforms[token.Component]; platform != nil {
			return platform.Authorizer(app.AppID, token.RefreshToken.Text()), nil
		}
	}
	return nil, fmt.Errorf("token mode %q of %s has no source", app.Token.Mode, app.AppID)
}

// Apps returns the apps of the configuration in the worker's form.
func (a *Access) Apps(cfg *config.Config) ([]batch.App, error) {
	apps := make([]batch.App, len(cfg.Apps))
	for i, app := range cfg.Apps {
		tokens, err := a.TokenSource(app)
		if err != nil {
			return nil, err
		}
		apps[i] = workerApp(app.AppID, tokens, app.Calls)
	}
	return apps, nil
}

// workerApp returns an app in the worker's form.
func workerApp(appID string, tokens wechat.TokenSource, calls config.Calls) batch.App {
	return batch.App{
		AppID: appID, Tokens: tokens, GroupByApp: calls.GroupBy == config.GroupByApp,
		BatchMax: calls.BatchMax, BatchLinger: calls.BatchLinger, MaxInFlight: calls.MaxInFlight,
		RatePerMinute: calls.RatePerMinute, Webhook: calls.Webhook,
	}
}

// Authorizers finds merchants' apps that have authorised a platform. It queries the platforms in
// the order of the configuration.
type Authorizers struct {
	access     *Access
	components []config.Component
}

// Find looks the app up in each platform, because there are few platforms but thousands of merchants.
func (a Authorizers) Find(ctx context.Context, appID string) (batch.App, bool, error) {
	for _, component := range a.components {
		platform := a.access.Platforms[component.AppID]
		authorised, err := platform.Authorized(ctx, appID)
		if err != nil {
			return batch.App{}, false, err
		}
		if authorised {
			return workerApp(appID, platform.Authorizer(appID, secret.Text{}), component.Authorizers), true, nil
		}
	}
	return batch.App{}, false, nil
}

// WebhookOf returns the default endpoint for an app's results, for an app of the configuration or
// of a platform's merchant. It returns "" if there is no default endpoint or the app is unknown.
func WebhookOf(ctx context.Context, cfg *config.Config, access *Access, appID string) (string, error) {
	for _, app := range cfg.Apps {
		if app.AppID == appID {
			return app.Webhook, nil
		}
	}
	app, _, err := access.Authorizers(cfg).Find(ctx, appID)
	return app.Webhook, err
}

// maxConnections limits the connections of one process to WeChat, however many apps it serves.
const maxConnections = 4096

// connections returns the number of connections for all requests that may be in flight. With a
// platform, the number of apps is unknown, so it returns the maximum.
func connections(cfg *config.Config) int {
	if len(cfg.Components) > 0 {
		return maxConnections
	}
	sum := 0
	for _, app := range cfg.Apps {
		sum += app.MaxInFlight
	}
	return min(sum, maxConnections)
}

// Authorizers returns the merchants' apps of the configured platforms.
func (a *Access) Authorizers(cfg *config.Config) Authorizers { return Authorizers{a, cfg.Components} }
