package backfill

// Small returns the loader with windows of n lines.
func (l *Loader) Small(n int) *Loader {
	small := *l
	small.windowMax = n
	return &small
}
