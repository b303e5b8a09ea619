package backfill

// WithWindow returns the loader with windows of n lines.
func (l *Loader) WithWindow(n int) *Loader {
	small := *l
	small.windowMax = n
	return &small
}
