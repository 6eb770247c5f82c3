-- Studies that wait to be complete are counted, and their times mended, every few seconds: by an index, however many others there are.
CREATE INDEX studies_received ON studies (due_at) WHERE state = 'received';
