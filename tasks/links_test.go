package tasks_test

import (
	"os/exec"
	"strings"
	"testing"
)

// A program that imports tasks links no HTTP server of ours, no PostgreSQL, no OpenTelemetry SDK
// and no other package of the project.
func TestTasks_LinksLittle(t *testing.T) {
	out, err := exec.CommandContext(t.Context(), "go", "list", "-deps", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, unwanted := range []string{
		"cloudidq/", "github.com/jackc/pgx", "go.opentelemetry.io/otel/sdk", "github.com/danielgtaylor/huma",
		"github.com/prometheus/", "google.golang.org/grpc",
	} {
		for path := range strings.Lines(string(out)) {
			if path = strings.TrimSpace(path); strings.HasPrefix(path, unwanted) && path != "cloudidq/tasks" {
				t.Errorf("tasks links %s", path)
			}
		}
	}
}
