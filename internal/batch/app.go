package batch

import (
	"fmt"
	"time"

	"cloudidq/internal/wechat"
	"cloudidq/tasks"
)

// App holds the worker's settings for one mini program.
type App struct {
	AppID  string
	Tokens wechat.TokenSource
	// GroupByApp puts cloudIDs of different users into one request. Such a request carries no
	// openid.
	GroupByApp  bool
	BatchMax    int           // cloudIDs in one request, 1..100
	BatchLinger time.Duration // how long a cloudID waits for others of its batch
	MaxInFlight int           // concurrent requests of this app in this process
	// RatePerMinute bounds the requests per minute of all processes together; 0 = no limit by
	// the worker.
	RatePerMinute int
	// Webhook names the endpoint for the results of tasks that name no endpoint. If it is
	// empty, those results are only stored.
	Webhook string
}

// Validate returns the first error of the app's settings, or nil.
func (a *App) Validate() error {
	if problem := tasks.AppIDProblem(a.AppID); problem != "" {
		return fmt.Errorf("worker: the appid of an app %s", problem)
	}
	if a.BatchMax < 1 || a.MaxInFlight < 1 || a.Tokens == nil {
		return fmt.Errorf("worker: app %s: BatchMax and MaxInFlight must be at least 1, and Tokens be set", a.AppID)
	}
	return nil
}
