"""Pure decisions: settings, state, facts, now and draw in; a decision and the next state out."""
