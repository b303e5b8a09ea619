package worker

import "testing"

func TestFIFO_KeepsOrderAndMemory(t *testing.T) {
	var q fifo
	next, taken := 0, 0
	number := map[*batch]int{}
	push := func() { b := &batch{}; number[b] = next; next++; q.push(b) }
	for range 100 {
		push()
	}
	for range 100_000 { // never empty: a backlog that lasts
		if got := number[q.pop()]; got != taken {
			t.Fatalf("took %d, want %d", got, taken)
		}
		taken++
		push()
	}
	if c := cap(q.items); c > 1000 {
		t.Errorf("room for %d batches where 100 wait", c)
	}
}
