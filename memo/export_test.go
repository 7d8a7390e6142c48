package memo

// Waiting returns how many calls wait for one that somebody else makes, and Flights how many are waited for or made.
func (m *Memory) Waiting() (n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, f := range m.flights {
		n += len(f.waiting)
	}
	return n
}

func (m *Memory) Flights() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.flights)
}
