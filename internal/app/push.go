package app

import (
	"context"
	"time"

	"github.com/redis/go-redis/v9"

	"cloudidq/config"
	"cloudidq/internal/batch"
	"cloudidq/internal/coord"
	"cloudidq/internal/httpapi"
	"cloudidq/internal/open"
	"cloudidq/internal/secret"
	"cloudidq/internal/wechat"
	"cloudidq/internal/wechat/push"
)

// pushTarget receives the events of a third-party platform. It stores their content, and starts or
// stops the app in every worker.
type pushTarget struct {
	*push.Codec
	*wechat.Platform
	pauses *coord.Pauses
}

// Authorize implements [httpapi.Platform].
func (t pushTarget) Authorize(
	ctx context.Context, appID string, code secret.Text, created time.Time,
) error {
	if err := t.Platform.Authorize(ctx, appID, code, created); err != nil {
		return err
	}
	return t.follow(ctx, appID)
}

// Unauthorize implements [httpapi.Platform].
func (t pushTarget) Unauthorize(ctx context.Context, appID string, created time.Time) error {
	if err := t.Platform.Unauthorize(ctx, appID, created); err != nil {
		return err
	}
	return t.follow(ctx, appID)
}

// follow starts or stops the app according to the stored authorization. If a newer event has
// arrived, the stored authorization differs from the current event.
func (t pushTarget) follow(ctx context.Context, appID string) error {
	authorized, err := t.Authorized(ctx, appID)
	if err != nil {
		return err
	}
	if authorized {
		return batch.StartApp(ctx, t.pauses, appID)
	}
	return batch.StopApp(ctx, t.pauses, appID)
}

// pushTargets returns the receivers of the platforms' events, by the appid of the platform.
func pushTargets(
	cfg *config.Config, access *open.Access, rdb redis.UniversalClient,
) (map[string]httpapi.Platform, error) {
	targets := make(map[string]httpapi.Platform, len(cfg.Components))
	for _, component := range cfg.Components {
		codec, err := push.NewCodec(push.Config{
			AppID:       component.AppID,
			VerifyToken: component.VerifyToken.Text(),
			AESKey:      component.AESKey.Text(),
		})
		if err != nil {
			return nil, err
		}
		platform := access.Platforms[component.AppID]
		targets[component.AppID] = pushTarget{codec, platform, coord.NewPauses(rdb)}
	}
	return targets, nil
}
