"What several test files share, and the conftest does not hand out as fixtures."
