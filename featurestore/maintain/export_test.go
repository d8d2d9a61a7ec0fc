package maintain

// InChunks makes a backfill write so few entities at a time that it can be stopped between.
func (b *Backfill) InChunks(n int) *Backfill {
	b.chunk = n
	return b
}
