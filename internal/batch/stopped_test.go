package batch

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"cloudidq/internal/secret"
	"cloudidq/internal/wechat"
)

// stoppedEnv, if set, makes the test binary the process that is stopped. Its value is the
// address of WeChat.
const stoppedEnv = "CLOUDIDQ_TEST_STOPPED"

// stoppedHold is how long the cloudIDs that wait certainly belong to that process.
const stoppedHold = time.Second

// A process that is suspended (SIGSTOP, a frozen container) while cloudIDs wait in it sends
// none of them if others may have taken over their tasks when it continues.
func TestStoppedProcess_SendsNothingThatOthersMayHave(t *testing.T) {
	t.Parallel()
	var requests atomic.Int64
	came, release := make(chan struct{}), make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if requests.Add(1) == 1 {
			close(came)
			<-release
		}
		_, _ = io.WriteString(w, `{"errcode":0,"data_list":[{"cloud_id":"73_first","json":"{\"data\":{\"a\":1}}"}]}`)
	}))
	defer server.Close()

	child := exec.CommandContext(t.Context(), os.Args[0])
	child.Env = append(os.Environ(), stoppedEnv+"="+server.URL)
	child.Stderr = os.Stderr
	in, err := child.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	said := bufio.NewScanner(out)
	<-came // the app's only request is in flight
	if _, err := io.WriteString(in, "add\n"); err != nil {
		t.Fatal(err)
	}
	if said.Scan(); said.Text() != "added" { // three more cloudIDs wait for it to finish
		t.Fatalf("the process says %q", said.Text())
	}
	signal(t, child, syscall.SIGSTOP)
	awaitStopped(t, child.Process.Pid)
	<-time.After(2 * stoppedHold) // let its hold lapse; a slow machine makes this longer, which changes nothing
	close(release)
	signal(t, child, syscall.SIGCONT)

	var lines []string
	for said.Scan() {
		lines = append(lines, said.Text())
	}
	if err := child.Wait(); err != nil {
		t.Fatal(err)
	}
	if n := requests.Load(); n != 1 {
		t.Errorf("%d requests, want the first alone: others may have resolved the rest", n)
	}
	want := []string{"73_first attempts=1 ", "73_1 attempts=0 not sent", "73_2 attempts=0 not sent", "73_3 attempts=0 not sent"}
	if len(lines) != len(want) {
		t.Fatalf("outcomes = %q", lines)
	}
	for i, line := range lines {
		if !strings.HasPrefix(line, want[i]) {
			t.Errorf("outcome = %q, want %q", line, want[i])
		}
	}
}

func signal(t *testing.T, child *exec.Cmd, s syscall.Signal) {
	t.Helper()
	if err := child.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
}

// awaitStopped waits until the kernel has stopped every thread of the process.
func awaitStopped(t *testing.T, pid int) {
	t.Helper()
	for end := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			t.Skipf("no /proc to see a process stop: %v", err)
		}
		if _, state, ok := strings.Cut(string(stat), ") "); ok && strings.HasPrefix(state, "T") {
			return
		}
		if time.Now().After(end) {
			t.Fatal("the process does not stop")
		}
	}
}

// beStopped is the main function of the process that is stopped. It has one request in flight,
// and three cloudIDs that wait for it to finish. It returns the exit code.
func beStopped(base string) int {
	client, err := wechat.New(wechat.Config{BaseURL: base, Timeout: time.Hour})
	if err != nil {
		panic(err)
	}
	defer client.Close()
	a := app(func(a *App) {
		a.BatchLinger, a.MaxInFlight, a.Tokens = 0, 1, wechat.StaticToken(secret.New("T"))
	})
	b := New(client, []App{a}, Options{})
	defer b.Close()
	hold := func(id string, d time.Duration) *Waiter {
		return b.Add(untraced, testApp, []CloudID{{OpenID: "o" + id, Item: wechat.Item{CloudID: id, LeaseUntil: time.Now().Add(d)}}})
	}
	waiters := []*Waiter{hold("73_first", time.Hour)}
	if !bufio.NewScanner(os.Stdin).Scan() {
		return 1
	}
	for _, id := range []string{"73_1", "73_2", "73_3"} {
		waiters = append(waiters, hold(id, stoppedHold))
	}
	fmt.Println("added")
	for _, w := range waiters {
		o := (<-w.Answers).Outcome
		text := ""
		if o.Err != nil {
			text = o.Err.Message
		}
		fmt.Printf("%s attempts=%d %s\n", o.CloudID, o.Attempts, text)
	}
	return 0
}
