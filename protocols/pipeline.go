package protocols

// pipeline is the queue of requests whose answers are outstanding, in runs of equal ones, so that three hundred outstanding
// requests take the room of one.
type pipeline struct {
	runs []pipelineRun
	n    int
	now  State // of the oldest request
}

type pipelineRun struct {
	first, home State // the state after the request, and the one that ends its answer
	n           int
}

func (p *pipeline) push(first, home State) {
	if p.n == 0 {
		p.now = first
		p.runs = p.runs[:0]
	}
	p.n++
	if last := len(p.runs) - 1; last >= 0 && p.runs[last].first == first && p.runs[last].home == home {
		p.runs[last].n++
		return
	}
	p.runs = append(p.runs, pipelineRun{first, home, 1})
}

// state returns the state of the oldest request.
func (p *pipeline) state() State { return p.now }

// advance notes that a message has moved the oldest request to st.
func (p *pipeline) advance(st State) {
	p.now = st
	if st != p.runs[0].home {
		return
	}
	p.n--
	if p.runs[0].n--; p.runs[0].n == 0 {
		p.runs = p.runs[:copy(p.runs, p.runs[1:])]
	}
	if p.n > 0 {
		p.now = p.runs[0].first
	}
}
