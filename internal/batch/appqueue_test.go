package batch

import "testing"

// fifo keeps the order of batches, and its memory does not grow while the number of batches
// stays the same.
func TestFIFO_KeepsOrderAndMemory(t *testing.T) {
	var q fifo
	next, taken := 0, 0
	number := map[*batch]int{}
	push := func() { b := &batch{}; number[b] = next; next++; q.push(b) }
	for range 100 {
		push()
	}
	for range 100_000 { // the list is never empty, as with a lasting backlog
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
